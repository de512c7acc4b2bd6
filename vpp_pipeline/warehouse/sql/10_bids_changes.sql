-- Changes of the bids from the previous market day in the warehouse, by resource, hour, and product.
create or replace view bids.changes as
with days as (
    select market_date, lag(market_date) over (order by market_date) as day_before from (select distinct market_date from bids.final_bids)
),
hours as (
    select b.market_date, b.product, f.hour_ending, b.status, b.total_capacity_mw, b.bid_price_usd_per_mwh, b.forecast_price,
           b.expected_profit_usd, b.reason, coalesce(b.resource_id, 'vpp') as resource_id,
           if(b.status = 'bid' and b.product = 'energy', coalesce(l.max_charge_mw, 0), 0) as charge_mw
    from bids.final_bids b join market.price_forecast f using (market_date, start_utc)
    left join dispatch.storage_limits l using (market_date, resource_id, start_utc)
)
select d.market_date, d.day_before, coalesce(t.product, y.product) as product, coalesce(t.hour_ending, y.hour_ending) as hour_ending,
       coalesce(y.total_capacity_mw, 0) as mw_before, coalesce(t.total_capacity_mw, 0) as mw_now,
       coalesce(t.total_capacity_mw, 0) - coalesce(y.total_capacity_mw, 0) as change_mw,
       y.bid_price_usd_per_mwh as price_before, t.bid_price_usd_per_mwh as price_now,
       y.forecast_price as forecast_before, t.forecast_price as forecast_now,
       coalesce(t.expected_profit_usd, 0) - coalesce(y.expected_profit_usd, 0) as change_usd,
       case when t.status = 'bid' and coalesce(y.status, 'no_bid') = 'no_bid' then 'new: ' || t.reason
            when y.status = 'bid' and coalesce(t.status, 'no_bid') = 'no_bid'
                then 'gone: ' || coalesce(t.reason, 'no opportunity in this hour')
            else 'changed' end as what, k.resource_id, coalesce(y.charge_mw, 0) as charge_mw_before, coalesce(t.charge_mw, 0) as charge_mw_now
from days d
join (select distinct market_date, resource_id, product, hour_ending from hours) k on k.market_date in (d.market_date, d.day_before)
left join hours t on t.market_date = d.market_date and t.resource_id = k.resource_id and t.product = k.product and t.hour_ending = k.hour_ending
left join hours y on y.market_date = d.day_before and y.resource_id = k.resource_id and y.product = k.product and y.hour_ending = k.hour_ending
where d.day_before is not null
  and (coalesce(t.total_capacity_mw, 0) != coalesce(y.total_capacity_mw, 0)
       or t.bid_price_usd_per_mwh is distinct from y.bid_price_usd_per_mwh
       or (t.status is distinct from y.status and 'bid' in (t.status, y.status))
       or coalesce(t.charge_mw, 0) != coalesce(y.charge_mw, 0))
group by all;
comment on view bids.changes is 'Changes of the bids from the previous market day in the warehouse, by resource, hour, and product. Two runs of one day are compared in bids.changes_of_last_run and bids.changes_between_runs.';
comment on column bids.changes.day_before is 'Previous market day in the warehouse, which is compared.';
comment on column bids.changes.hour_ending is 'OASIS hour label of the block''s first hour.';
comment on column bids.changes.mw_before is 'MW bid on the previous day.';
comment on column bids.changes.mw_now is 'MW bid on this day.';
comment on column bids.changes.change_mw is 'Increase of the MW bid.';
comment on column bids.changes.price_before is 'Bid price of the previous day; $/MWh, for reserves $/MW per hour.';
comment on column bids.changes.price_now is 'Bid price of this day; $/MWh, for reserves $/MW per hour.';
comment on column bids.changes.forecast_before is 'Expected price of the previous day.';
comment on column bids.changes.forecast_now is 'Expected price of this day.';
comment on column bids.changes.charge_mw_before is 'Charging that a storage resource offered on the previous day.';
comment on column bids.changes.charge_mw_now is 'Charging that a storage resource offers on this day.';
comment on column bids.changes.change_usd is 'Increase of the expected profit.';
comment on column bids.changes.what is 'Kind of the change: new, gone (with the reason), or changed.';
