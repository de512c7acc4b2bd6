-- Devices of each home or business: its batteries, EVs, and solar added up.
create or replace view fleet.sites as
select market_date, site_id, any_value(site_type) as site_type, count(*) as prosumers,
       sum(case when store = 'battery' then capacity_kwh else 0 end) as battery_kwh,
       sum(case when store = 'ev' then capacity_kwh else 0 end) as ev_kwh,
       sum(max_charge_kw) as max_charge_kw, sum(max_discharge_kw) as max_discharge_kw,
       sum(solar_size_kw) as solar_size_kw, sum(mean_load_kw) as mean_load_kw, sum(export_limit_kw) as export_limit_kw,
       any_value(p.resource_id) as resource_id, string_agg(distinct m.resource_id, ', ' order by m.resource_id) as storage_resources
from fleet.prosumers p left join fleet.storage_members m using (market_date, prosumer_id)
group by market_date, site_id;
comment on view fleet.sites is 'Devices of each home or business: its batteries, EVs, and solar added up.';
comment on column fleet.sites.prosumers is 'Number of prosumers of the site; its battery and its EV are two.';
comment on column fleet.sites.battery_kwh is 'Usable capacity of its batteries.';
comment on column fleet.sites.ev_kwh is 'Usable capacity of its EVs.';
comment on column fleet.sites.storage_resources is 'Storage resources that its prosumers are members of; null where its resource takes part otherwise.';
