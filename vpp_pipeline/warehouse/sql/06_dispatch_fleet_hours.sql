-- Dispatch of the whole fleet in each hour, and its state of charge against floor and ceiling.
create or replace view dispatch.fleet_hours as
with does as (
    select market_date, start_utc, sum(discharge_kw) / 1000 as discharge_mw, sum(solar_sold_kw) / 1000 as solar_sold_mw,
           sum(spin_kw) / 1000 as spin_mw, sum(nonspin_kw) / 1000 as nonspin_mw, sum(grid_charge_kw) / 1000 as grid_charge_mw,
           sum(solar_charge_kw) / 1000 as solar_charge_mw, sum(stored_kwh) / 1000 as stored_mwh
    from dispatch.schedule
    group by market_date, start_utc
),
may as (
    select market_date, start_utc, sum(min_stored_kwh) / 1000 as min_stored_mwh, sum(max_stored_kwh) / 1000 as max_stored_mwh
    from fleet.availability
    group by market_date, start_utc
)
select market_date, start_utc, strftime(start_utc at time zone 'America/Los_Angeles', '%H:%M') as pacific,
       discharge_mw, solar_sold_mw, spin_mw, nonspin_mw, grid_charge_mw, solar_charge_mw, stored_mwh, min_stored_mwh, max_stored_mwh
from does join may using (market_date, start_utc);
comment on view dispatch.fleet_hours is 'Dispatch of the whole fleet in each hour, and its state of charge against floor and ceiling.';
comment on column dispatch.fleet_hours.pacific is 'Pacific time at which the hour starts; the repeated autumn hour shows twice.';
comment on column dispatch.fleet_hours.discharge_mw is 'Discharge to the grid.';
comment on column dispatch.fleet_hours.solar_sold_mw is 'Own solar that is sold.';
comment on column dispatch.fleet_hours.spin_mw is 'Capacity held as spinning reserve.';
comment on column dispatch.fleet_hours.nonspin_mw is 'Capacity held as non-spinning reserve.';
comment on column dispatch.fleet_hours.grid_charge_mw is 'Charging from the grid.';
comment on column dispatch.fleet_hours.solar_charge_mw is 'Charging from the prosumers'' own solar.';
comment on column dispatch.fleet_hours.stored_mwh is 'State of charge at the end of the hour.';
comment on column dispatch.fleet_hours.min_stored_mwh is 'Floor of the state of charge at the end of the hour: backup reserves and ready-by charges.';
comment on column dispatch.fleet_hours.max_stored_mwh is 'Ceiling of the state of charge at the end of the hour.';
