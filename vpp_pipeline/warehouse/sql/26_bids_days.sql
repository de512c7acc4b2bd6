-- Each day in one row: status, expected and settled result, MIP gap, check results, and whether prices are synthetic or a forecast stood in.
create or replace view bids.days as
with bid as (
    select market_date, count(*) filter (status = 'bid') as bids, sum(expected_profit_usd) as expected_profit_usd, sum(payments_usd) as payments_usd
    from bids.final_bids
    group by market_date
),
forecast as (
    select market_date, any_value(source) as price_source, any_value(node) as node from market.price_forecast group by market_date
),
run as (select market_date, count(*) as runs from bids.runs group by market_date),
stood_in as (
    select market_date, string_agg(description, '; ' order by check_name) as stand_ins
    from bids.checks
    where not passed and check_name in ('prices_are_forecast_as_asked', 'solar_is_forecast_as_asked', 'the_load_is_forecast_as_asked', 'charging_is_forecast_as_asked')
    group by market_date
)
select b.market_date, case when s.market_date is not null then 'settled' when b.bids > 0 then 'bid' else 'no bid' end as status,
       f.price_source, f.node, b.bids, coalesce(r.runs, 0) as runs, b.expected_profit_usd, s.expected_net_usd, s.net_usd,
       s.net_usd - s.expected_net_usd as difference_usd, b.payments_usd as expected_payments_usd, s.payments_usd, p.gap_fraction,
       coalesce(c.warnings, 0) as warnings, coalesce(c.broken, 0) as failed_checks, coalesce(c.not_held, '') as not_held,
       starts_with(f.price_source, 'synthetic') as is_synthetic, i.stand_ins
from bid b
left join forecast f using (market_date)
left join run r using (market_date)
left join evaluation.settled_days s using (market_date)
left join dispatch.proof p using (market_date)
left join bids.checks_by_day c using (market_date)
left join stood_in i using (market_date);
comment on view bids.days is 'Each day in one row: status, expected and settled result, MIP gap, check results, and whether prices are synthetic or a forecast stood in.';
comment on column bids.days.status is 'Settled; bid, where clearing prices are awaited; or no bid, where no opportunity is bid.';
comment on column bids.days.price_source is 'Source of the prices that the bids rest on.';
comment on column bids.days.bids is 'Number of bids, no-bids left out.';
comment on column bids.days.runs is 'Number of runs that published bids of the day.';
comment on column bids.days.expected_profit_usd is 'Expected profit of the bids.';
comment on column bids.days.expected_payments_usd is 'Payments to prosumers that the bids expect.';
comment on column bids.days.payments_usd is 'Payments to prosumers for their deliveries; null before the settlement.';
comment on column bids.days.net_usd is 'Net of the settled account; null before the settlement.';
comment on column bids.days.difference_usd is 'Settled less expected net; null before the settlement.';
comment on column bids.days.failed_checks is 'Number of checks that failed and hold bids back.';
comment on column bids.days.not_held is 'Names of the checks that failed or warn.';
comment on column bids.days.is_synthetic is 'Whether no market has published the prices.';
comment on column bids.days.stand_ins is 'Forecasts that another method replaced, with the reason; null where none was.';
