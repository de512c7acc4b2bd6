-- Fleet, deliveries, and earnings by archetype; a fleet without archetypes is grouped by site type.
create or replace view fleet.by_archetype as
with paid as (
    select market_date, prosumer_id, sum(payment_usd) as payment_usd, sum(dispatched_kwh) as dispatched_kwh
    from dispatch.payments
    group by all
)
select market_date, coalesce(archetype, site_type) as archetype, count(distinct site_id) as sites, count(*) as prosumers,
       count(*) filter (store = 'battery') as batteries, count(*) filter (store = 'ev') as evs,
       count(*) filter (has_solar) as with_solar, sum(capacity_kwh) as capacity_kwh, sum(max_discharge_kw) as max_discharge_kw,
       sum(solar_size_kw) as solar_size_kw, count(payment_usd) as delivering, coalesce(sum(dispatched_kwh), 0) as dispatched_kwh,
       coalesce(sum(payment_usd), 0) as payment_usd, coalesce(sum(payment_usd), 0) / count(distinct site_id) as usd_per_site
from fleet.prosumers left join paid using (market_date, prosumer_id)
group by market_date, coalesce(archetype, site_type);
comment on view fleet.by_archetype is 'Fleet, deliveries, and earnings by archetype; a fleet without archetypes is grouped by site type.';
comment on column fleet.by_archetype.archetype is 'Archetype of the household or business.';
comment on column fleet.by_archetype.sites is 'Number of homes or businesses.';
comment on column fleet.by_archetype.prosumers is 'Number of prosumers; the battery and the EV of one home are two.';
comment on column fleet.by_archetype.batteries is 'Number of batteries among the stores.';
comment on column fleet.by_archetype.evs is 'Number of EVs among the stores.';
comment on column fleet.by_archetype.with_solar is 'Number of prosumers with solar behind their meter.';
comment on column fleet.by_archetype.delivering is 'Number of prosumers that deliver on the day.';
comment on column fleet.by_archetype.dispatched_kwh is 'Energy sold, and reserve times the hours it is held.';
comment on column fleet.by_archetype.payment_usd is 'Payments to them at agreed prices, if the forecast clears.';
comment on column fleet.by_archetype.usd_per_site is 'Payments per home or business.';
