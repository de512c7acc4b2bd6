-- Position by hour and product: MW sold or held, MW charged, and the expected price.
create or replace view dispatch.position_by_hour as
with hours as (
    select market_date, start_utc, any_value(hour_ending) as hour_ending,
           any_value(energy_usd_per_mwh) as energy, any_value(spin_usd_per_mw_h) as spin, any_value(nonspin_usd_per_mw_h) as nonspin
    from market.price_forecast
    group by market_date, start_utc
),
prices as (
    select market_date, start_utc, hour_ending, 'energy' as product, energy as forecast_price from hours
    union all by name select market_date, start_utc, hour_ending, 'spin' as product, spin as forecast_price from hours
    union all by name select market_date, start_utc, hour_ending, 'nonspin' as product, nonspin as forecast_price from hours
),
bids as (
    select market_date, product, hour_utc as start_utc, sum(total_capacity_mw) as bid_mw, sum(expected_mw) as expected_mw
    from (
        select market_date, product, total_capacity_mw, coalesce(expected_mw, total_capacity_mw) as expected_mw,
               unnest(generate_series(start_utc, start_utc + to_hours(duration_hours - 1), interval 1 hour)) as hour_utc
        from bids.final_bids
        where status = 'bid'
    )
    group by all
),
charging as (
    select market_date, start_utc, sum(max_charge_mw) as charge_bid_mw from dispatch.storage_limits group by all
),
fleet as (
    select market_date, start_utc, sum(discharge_kw + solar_sold_kw) / 1000 as energy, sum(spin_kw) / 1000 as spin,
           sum(nonspin_kw) / 1000 as nonspin, sum(grid_charge_kw) / 1000 as charge
    from dispatch.schedule
    group by all
)
select p.market_date, p.start_utc, p.hour_ending, strftime(p.start_utc at time zone 'America/Los_Angeles', '%H:%M') as pacific,
       p.product, coalesce(b.bid_mw, 0) as bid_mw,
       coalesce(case p.product when 'energy' then f.energy when 'spin' then f.spin else f.nonspin end, 0) as delivered_mw,
       coalesce(case when p.product = 'energy' then f.charge end, 0) as grid_charge_mw,
       coalesce(case p.product when 'energy' then f.energy - f.charge when 'spin' then f.spin else f.nonspin end, 0) as net_mw,
       p.forecast_price, coalesce(case when p.product = 'energy' then c.charge_bid_mw end, 0) as charge_bid_mw, coalesce(b.expected_mw, 0) as expected_mw
from prices p
left join charging c using (market_date, start_utc)
left join bids b using (market_date, start_utc, product)
left join fleet f using (market_date, start_utc);
comment on view dispatch.position_by_hour is 'Position by hour and product: MW sold or held, MW charged, and the expected price.';
comment on column dispatch.position_by_hour.pacific is 'Pacific time at which the hour starts; the repeated autumn hour shows twice.';
comment on column dispatch.position_by_hour.bid_mw is 'MW bid for the hour; energy of storage resources: the discharge that they offer beside their sun.';
comment on column dispatch.position_by_hour.charge_bid_mw is 'Charging that storage resources offer.';
comment on column dispatch.position_by_hour.expected_mw is 'MW of these bids that clear at the forecast: all of them, or the plan of storage resources, which is net of the charging that they bid.';
comment on column dispatch.position_by_hour.delivered_mw is 'MW that prosumers deliver or hold; more energy than is bid where the fleet charges in the same hour.';
comment on column dispatch.position_by_hour.grid_charge_mw is 'Charging from the grid, which reduces the energy position.';
comment on column dispatch.position_by_hour.net_mw is 'MW delivered less MW charged; of storage resources this includes their owners'' own charging, which is not bid.';
comment on column dispatch.position_by_hour.forecast_price is 'Expected market price of the hour; $/MWh, for reserves $/MW per hour.';
