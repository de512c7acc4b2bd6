-- Changes of the bids between any two runs of one day, by opportunity: name market_date, number_before, and run_number (bids.runs_of_day numbers them).
create or replace view bids.changes_between_runs as
with pairs as (
    select r.market_date, b.run_number as number_before, r.run_number, b.run_id as run_before, r.run_id, r.is_last
    from bids.runs_of_day r join bids.runs_of_day b on b.market_date = r.market_date and b.run_number < r.run_number
),
asked as (select distinct market_date, opportunity_id, product, start_utc from bids.run_bids)
select p.market_date, p.number_before, p.run_number, a.opportunity_id, a.product,
       strftime(a.start_utc at time zone 'America/Los_Angeles', '%H:%M') as pacific,
       case when t.status = 'bid' and coalesce(y.status, 'no_bid') = 'no_bid' then 'new: ' || t.reason
            when y.status = 'bid' and t.status = 'no_bid' then 'gone: ' || t.reason
            when y.status = 'bid' and t.status is null then 'gone: no opportunity any more'
            when t.total_capacity_mw > y.total_capacity_mw then 'more'
            when t.total_capacity_mw < y.total_capacity_mw then 'less'
            when t.bid_price_usd_per_mwh > y.bid_price_usd_per_mwh then 'dearer'
            when t.bid_price_usd_per_mwh < y.bid_price_usd_per_mwh then 'cheaper'
            else 'another curve' end as what,
       coalesce(y.total_capacity_mw, 0) as mw_before, coalesce(t.total_capacity_mw, 0) as mw_now, mw_now - mw_before as change_mw,
       y.bid_price_usd_per_mwh as price_before, t.bid_price_usd_per_mwh as price_now,
       y.forecast_price as forecast_before, t.forecast_price as forecast_now,
       coalesce(t.payments_usd, 0) - coalesce(y.payments_usd, 0) as change_payments_usd,
       coalesce(t.expected_profit_usd, 0) - coalesce(y.expected_profit_usd, 0) as change_profit_usd,
       y.curve as curve_before, t.curve as curve_now, p.is_last and p.number_before = p.run_number - 1 as is_last_change,
       a.start_utc, p.run_before, p.run_id
from pairs p
join asked a using (market_date)
left join bids.run_bids t on t.market_date = p.market_date and t.run_id = p.run_id and t.opportunity_id = a.opportunity_id
left join bids.run_bids y on y.market_date = p.market_date and y.run_id = p.run_before and y.opportunity_id = a.opportunity_id
where (t.status = 'bid' or y.status = 'bid')
  and (t.status is distinct from y.status or t.total_capacity_mw != y.total_capacity_mw
       or t.bid_price_usd_per_mwh is distinct from y.bid_price_usd_per_mwh or t.curve is distinct from y.curve);
comment on view bids.changes_between_runs is 'Changes of the bids between any two runs of one day, by opportunity: name market_date, number_before, and run_number (bids.runs_of_day numbers them). The causes are in bids.runs_compared.';
comment on column bids.changes_between_runs.number_before is 'Number of the earlier run of the day.';
comment on column bids.changes_between_runs.run_number is 'Number of the later run of the day.';
comment on column bids.changes_between_runs.run_before is 'Id of the earlier run.';
comment on column bids.changes_between_runs.run_id is 'Id of the later run.';
comment on column bids.changes_between_runs.pacific is 'Pacific time at which the block starts; the repeated autumn hour shows twice.';
comment on column bids.changes_between_runs.what is 'Kind of the change: new, gone (with the reason), more or less MW, dearer or cheaper at the same MW, or another curve at the same bid price.';
comment on column bids.changes_between_runs.mw_before is 'MW bid by the earlier run.';
comment on column bids.changes_between_runs.mw_now is 'MW bid by the later run.';
comment on column bids.changes_between_runs.change_mw is 'Increase of the MW bid.';
comment on column bids.changes_between_runs.price_before is 'Bid price of the earlier run; $/MWh, for reserves $/MW per hour.';
comment on column bids.changes_between_runs.price_now is 'Bid price of the later run; $/MWh, for reserves $/MW per hour.';
comment on column bids.changes_between_runs.forecast_before is 'Expected price in the earlier run.';
comment on column bids.changes_between_runs.forecast_now is 'Expected price in the later run.';
comment on column bids.changes_between_runs.change_payments_usd is 'Increase of the payments to prosumers.';
comment on column bids.changes_between_runs.change_profit_usd is 'Increase of the expected profit.';
comment on column bids.changes_between_runs.curve_before is 'Bid curve of the earlier run.';
comment on column bids.changes_between_runs.curve_now is 'Bid curve of the later run.';
comment on column bids.changes_between_runs.is_last_change is 'Whether these are the last two runs of the day.';
