-- Each settled bid against what was expected of it: awards, prices, money, and what the difference comes from.
create or replace view evaluation.settled_bids as
with side_by_side as (
    select s.market_date, strftime(b.start_utc at time zone 'America/Los_Angeles', '%H:%M') as pacific, b.product, b.opportunity_id,
           b.resource_id, b.start_utc, b.duration_hours, b.bid_price_usd_per_mwh, b.forecast_price, s.clearing_price,
           coalesce(b.expected_mw, b.total_capacity_mw) as expected_mw, s.awarded_mw, s.delivered_mw, s.shortfall_mw,
           s.absent_members, s.empty_members, b.expected_revenue_usd, s.revenue_usd - s.no_pay_usd as paid_usd, s.revenue_usd, s.no_pay_usd,
           s.imbalance_usd, b.payments_usd as expected_payments_usd, s.payments_usd, b.expected_profit_usd, s.profit_usd,
           (s.clearing_price - b.forecast_price) * coalesce(b.expected_mw, b.total_capacity_mw) * b.duration_hours as price_effect_usd
    from evaluation.settlement s join bids.final_bids b using (market_date, opportunity_id)
)
select * exclude (revenue_usd, price_effect_usd), price_effect_usd, revenue_usd - expected_revenue_usd - price_effect_usd as award_effect_usd,
       profit_usd - expected_profit_usd as difference_usd,
       case when abs(awarded_mw - expected_mw) * duration_hours < 0.0005 then 'awarded as expected'
            when abs(awarded_mw) < 0.0005 and clearing_price < coalesce(bid_price_usd_per_mwh, forecast_price) then 'not awarded: the price is below the bid'
            when abs(awarded_mw) < 0.0005 then 'not awarded'
            when awarded_mw > expected_mw then 'more awarded than expected'
            else 'less awarded than expected' end
       || case when shortfall_mw >= 0.0005 then format('; {:.3f} MW not delivered, {} members unavailable', shortfall_mw, absent_members) else '' end as what
from side_by_side;
comment on view evaluation.settled_bids is 'Each settled bid against what was expected of it: awards, prices, money, and what the difference comes from. Expected and paid revenue differ by price_effect_usd + award_effect_usd - no_pay_usd.';
comment on column evaluation.settled_bids.pacific is 'Pacific time at which the block starts; the repeated autumn hour shows twice.';
comment on column evaluation.settled_bids.expected_mw is 'MW expected to clear at the forecast: all that is bid; of a storage resource its plan, negative where it charges.';
comment on column evaluation.settled_bids.paid_usd is 'Paid by the market: clearing price times awarded MW times hours, less reserve that was not held.';
comment on column evaluation.settled_bids.expected_payments_usd is 'Payments to prosumers that were expected.';
comment on column evaluation.settled_bids.payments_usd is 'Payments to prosumers for their deliveries.';
comment on column evaluation.settled_bids.expected_profit_usd is 'Expected profit of the bid, at forecast prices and with all prosumers available.';
comment on column evaluation.settled_bids.price_effect_usd is 'Clearing price less expected price, times expected MW and hours.';
comment on column evaluation.settled_bids.award_effect_usd is 'Awards other than expected, at the clearing price.';
comment on column evaluation.settled_bids.difference_usd is 'Profit less expected profit.';
comment on column evaluation.settled_bids.what is 'How the bid was awarded and delivered, in words.';
