-- Bids of a day, one row per opportunity: quantity, bid curve, expected price, money, and the reason.
create or replace view bids.bids_of_day as
with curves as (
    select bid_id, string_agg(if(from_mw != 0 and segment = 1, from_words || ' to ', '')
               || replace(format('{} MW from ${:,.2f}', to_words, price_usd_per_mwh + 0), '$-', '-$'), ', ' order by segment) as curve
    from (
        -- steps of 0.01 MW; those of storage resources are kW
        select *, regexp_replace(format('{:.3f}', from_mw), '0$', '') as from_words, regexp_replace(format('{:.3f}', to_mw), '0$', '') as to_words
        from bids.bid_segments
    )
    group by bid_id
)
select market_date, strftime(start_utc at time zone 'America/Los_Angeles', '%H:%M') as pacific, product, opportunity_id,
       status, required_capacity_mw, total_capacity_mw, duration_hours, total_capacity_mw * duration_hours as total_mwh, curve,
       bid_price_usd_per_mwh, forecast_price, forecast_price - bid_price_usd_per_mwh as headroom_usd_per_mwh,
       expected_revenue_usd, payments_usd, charging_cost_usd, expected_profit_usd, profit_margin_fraction,
       coalition_size, reliability_score, satisfaction_score, reason, start_utc, bid_id, resource_id,
       coalesce(expected_mw, total_capacity_mw) as expected_mw, coalesce(expected_mw, total_capacity_mw) * duration_hours as expected_mwh
from bids.final_bids left join curves using (bid_id);
comment on view bids.bids_of_day is 'Bids of a day, one row per opportunity: quantity, bid curve, expected price, money, and the reason.';
comment on column bids.bids_of_day.pacific is 'Pacific time at which the block starts; the repeated autumn hour shows twice.';
comment on column bids.bids_of_day.total_mwh is 'MW bid times hours: energy sold, or reserve held, if all is awarded; of a storage resource, in which energy and reserve share the MW, an upper bound.';
comment on column bids.bids_of_day.curve is 'Bid curve in words: up to so many MW from this price on, in rising order; below zero it charges.';
comment on column bids.bids_of_day.expected_mw is 'MW expected to clear at the forecast: all that is bid; of a storage resource its plan, negative where it charges.';
comment on column bids.bids_of_day.expected_mwh is 'The same times hours.';
comment on column bids.bids_of_day.headroom_usd_per_mwh is 'Difference by which the price may fall below the forecast before the bid is not awarded.';
