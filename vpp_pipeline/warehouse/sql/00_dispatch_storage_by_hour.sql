-- Each storage resource hour by hour: limits and bid prices, the award that the forecast gives, its state of charge, and the award once settled.
create or replace view dispatch.storage_by_hour as
with offered as (
    select market_date, resource_id, start_utc, coalesce(max(total_capacity_mw) filter (product = 'spin'), 0) as spin_mw,
           coalesce(max(total_capacity_mw) filter (product = 'nonspin'), 0) as nonspin_mw
    from bids.final_bids
    group by all
),
forecast as (
    select market_date, start_utc, any_value(hour_ending) as hour_ending, any_value(energy_usd_per_mwh) as energy_usd_per_mwh,
           any_value(spin_usd_per_mw_h) as spin_usd_per_mw_h, any_value(nonspin_usd_per_mw_h) as nonspin_usd_per_mw_h
    from market.price_forecast
    group by all
)
select l.market_date, l.resource_id, r.pool_id, l.start_utc, f.hour_ending,
       strftime(l.start_utc at time zone 'America/Los_Angeles', '%H:%M') as pacific, l.self_schedule_mw, l.own_charging_mw, l.max_charge_mw,
       l.max_discharge_mw, l.reserve_beyond_mw, coalesce(o.spin_mw, 0) as offered_spin_mw, coalesce(o.nonspin_mw, 0) as offered_nonspin_mw,
       l.charge_price_usd_per_mwh + 0 as charge_price_usd_per_mwh, l.discharge_price_usd_per_mwh, l.spin_usd_per_mw_h, l.nonspin_usd_per_mw_h,
       f.energy_usd_per_mwh as forecast_energy_usd_per_mwh, f.spin_usd_per_mw_h as forecast_spin_usd_per_mw_h,
       f.nonspin_usd_per_mw_h as forecast_nonspin_usd_per_mw_h, p.charge_mw as planned_charge_mw, p.discharge_mw as planned_discharge_mw,
       p.spin_mw as planned_spin_mw, p.nonspin_mw as planned_nonspin_mw,
       l.self_schedule_mw + p.discharge_mw - p.charge_mw as planned_net_mw,
       coalesce(lag(p.stored_mwh) over hours, r.initial_stored_mwh) as planned_opening_mwh, p.stored_mwh as planned_stored_mwh,
       l.lowest_stored_mwh, l.highest_stored_mwh, p.stored_value_usd_per_mwh,
       a.charge_mw as awarded_charge_mw, a.discharge_mw as awarded_discharge_mw, a.spin_mw as awarded_spin_mw, a.nonspin_mw as awarded_nonspin_mw,
       l.self_schedule_mw + a.discharge_mw - a.charge_mw as awarded_net_mw, a.stored_mwh as awarded_stored_mwh
from dispatch.storage_limits l
join dispatch.storage_resources r using (market_date, resource_id)
join dispatch.storage_plan p using (market_date, resource_id, start_utc)
left join forecast f using (market_date, start_utc)
left join offered o using (market_date, resource_id, start_utc)
left join evaluation.storage_awards a using (market_date, resource_id, start_utc)
window hours as (partition by l.market_date, l.resource_id order by l.start_utc);
comment on view dispatch.storage_by_hour is 'Each storage resource hour by hour: limits and bid prices, the award that the forecast gives, its state of charge, and the award once settled. States of charge count from the lowest that any hour allows.';
comment on column dispatch.storage_by_hour.hour_ending is 'OASIS hour label: 1-24, or 25 for the repeated autumn hour.';
comment on column dispatch.storage_by_hour.pacific is 'Pacific time at which the hour starts; the repeated autumn hour shows twice.';
comment on column dispatch.storage_by_hour.offered_spin_mw is 'Spinning reserve bid, over the same MW as its energy.';
comment on column dispatch.storage_by_hour.offered_nonspin_mw is 'Non-spinning reserve bid, over the same MW as its energy.';
comment on column dispatch.storage_by_hour.spin_usd_per_mw_h is 'Mean call price of its members for spinning reserve; null: not offered.';
comment on column dispatch.storage_by_hour.nonspin_usd_per_mw_h is 'Mean call price of its members for non-spinning reserve; null: not offered.';
comment on column dispatch.storage_by_hour.forecast_energy_usd_per_mwh is 'Expected price of energy.';
comment on column dispatch.storage_by_hour.forecast_spin_usd_per_mw_h is 'Expected price of spinning reserve.';
comment on column dispatch.storage_by_hour.forecast_nonspin_usd_per_mw_h is 'Expected price of non-spinning reserve.';
comment on column dispatch.storage_by_hour.planned_charge_mw is 'Charging that clears at the forecast, beyond the self-schedule.';
comment on column dispatch.storage_by_hour.planned_discharge_mw is 'Discharge that clears at the forecast, beyond the self-schedule.';
comment on column dispatch.storage_by_hour.planned_spin_mw is 'Spinning reserve that clears at the forecast.';
comment on column dispatch.storage_by_hour.planned_nonspin_mw is 'Non-spinning reserve that clears at the forecast.';
comment on column dispatch.storage_by_hour.planned_net_mw is 'Energy that clears at the forecast: sun and discharge less charging.';
comment on column dispatch.storage_by_hour.planned_opening_mwh is 'State of charge at the start of the hour, if the forecast clears.';
comment on column dispatch.storage_by_hour.planned_stored_mwh is 'State of charge at the end of the hour, if the forecast clears.';
comment on column dispatch.storage_by_hour.awarded_charge_mw is 'Charging awarded at the prices that were paid; null until the day is settled.';
comment on column dispatch.storage_by_hour.awarded_discharge_mw is 'Discharge awarded; null until the day is settled.';
comment on column dispatch.storage_by_hour.awarded_spin_mw is 'Spinning reserve awarded; null until the day is settled.';
comment on column dispatch.storage_by_hour.awarded_nonspin_mw is 'Non-spinning reserve awarded; null until the day is settled.';
comment on column dispatch.storage_by_hour.awarded_net_mw is 'Energy awarded: sun and discharge less charging; null until the day is settled.';
comment on column dispatch.storage_by_hour.awarded_stored_mwh is 'State of charge at the end of the hour after these awards; null until the day is settled.';
