-- Bids of a day, one row per opportunity: quantity, bid curve, expected price, money, and the reason.
create or replace view bids.bids_of_day as
with curves as (
    select bid_id, string_agg(replace(format('{:.2f} MW from ${:.2f}', to_mw, price_usd_per_mwh), '$-', '-$'), ', ' order by segment) as curve
    from bids.bid_segments
    group by bid_id
)
select market_date, strftime(start_utc at time zone 'America/Los_Angeles', '%H:%M') as pacific, product, opportunity_id,
       status, required_capacity_mw, total_capacity_mw, duration_hours, total_capacity_mw * duration_hours as total_mwh, curve,
       bid_price_usd_per_mwh, forecast_price, forecast_price - bid_price_usd_per_mwh as headroom_usd_per_mwh,
       expected_revenue_usd, payments_usd, charging_cost_usd, expected_profit_usd, profit_margin_fraction,
       coalition_size, reliability_score, satisfaction_score, reason, start_utc, bid_id, resource_id
from bids.final_bids left join curves using (bid_id);
comment on view bids.bids_of_day is 'Bids of a day, one row per opportunity: quantity, bid curve, expected price, money, and the reason.';
comment on column bids.bids_of_day.pacific is 'Pacific time at which the block starts; the repeated autumn hour shows twice.';
comment on column bids.bids_of_day.total_mwh is 'MW bid times hours: energy sold, or reserve held, if all is awarded.';
comment on column bids.bids_of_day.curve is 'Bid curve in words: up to so many MW from this price on, in rising order.';
comment on column bids.bids_of_day.headroom_usd_per_mwh is 'Difference by which the price may fall below the forecast before the bid is not awarded.';
