-- Binding limits of each prosumer and hour, one row per limit; reserve is assumed to be backed for one hour (rules.reserve_call_hours = 1).
create or replace view dispatch.limits_reached as
with hours as (
    select s.*, a.max_charge_kw as charge_limit_kw, a.max_discharge_kw as discharge_limit_kw, a.min_stored_kwh, a.max_stored_kwh,
           a.solar_kw, a.load_kw, a.export_limit_kw, a.limited_by, p.discharge_efficiency, p.terminal_stored_kwh,
           s.start_utc = l.last_utc as is_last
    from dispatch.schedule s
    join fleet.availability a using (market_date, prosumer_id, start_utc)
    join fleet.prosumers p using (market_date, prosumer_id)
    join (select market_date, max(start_utc) as last_utc from dispatch.schedule group by market_date) l using (market_date)
),
limits as (
    select market_date, prosumer_id, start_utc, stored_value_usd_per_mwh, unnest(list_filter([
        case when discharge_kw + spin_kw + nonspin_kw > 1e-3 and discharge_kw + spin_kw + nonspin_kw >= discharge_limit_kw - 1e-3
             then 'inverter power, selling' end,
        case when charge_kw > 1e-3 and charge_kw >= charge_limit_kw - 1e-3 then 'inverter power, charging' end,
        case when discharge_kw > 1e-3 and stored_kwh <= min_stored_kwh + 1e-3 then 'floor of the state of charge' end,
        case when spin_kw + nonspin_kw > 1e-3 and (spin_kw + nonspin_kw) / discharge_efficiency >= stored_kwh - min_stored_kwh - 1e-3
             then 'reserve backing' end,
        case when charge_kw > 1e-3 and stored_kwh >= max_stored_kwh - 1e-3 then 'full store' end,
        case when is_last and terminal_stored_kwh > min_stored_kwh + 1e-3 and stored_kwh <= terminal_stored_kwh + 1e-3
             then 'terminal state of charge' end,
        case when discharge_kw + solar_sold_kw > 1e-3
              and discharge_kw + solar_sold_kw - grid_charge_kw - greatest(load_kw - solar_kw, 0) >= export_limit_kw - 1e-3
             then 'export limit of the site' end,
        case when limited_by is not null then 'owner: ' || limited_by end
    ], lambda limit_name: limit_name is not null)) as limit_name
    from hours
)
select * from limits;
comment on view dispatch.limits_reached is 'Binding limits of each prosumer and hour, one row per limit; reserve is assumed to be backed for one hour (rules.reserve_call_hours = 1).';
comment on column dispatch.limits_reached.limit_name is 'Name of the limit; after `owner:`, the owner preference, or that the EV is away.';
