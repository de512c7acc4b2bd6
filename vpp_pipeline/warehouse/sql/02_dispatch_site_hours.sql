-- Dispatch of each home or business in each hour, and its net export against its export limit.
create or replace view dispatch.site_hours as
select s.market_date, p.site_id, s.start_utc,
       sum(s.charge_kw) as charge_kw, sum(s.discharge_kw) as discharge_kw, sum(s.solar_sold_kw) as solar_sold_kw,
       sum(s.spin_kw) as spin_kw, sum(s.nonspin_kw) as nonspin_kw, sum(s.stored_kwh) as stored_kwh,
       sum(a.solar_kw) as solar_kw, sum(a.load_kw) as load_kw, sum(a.drive_kwh) as drive_kwh,
       sum(s.discharge_kw + s.solar_sold_kw - s.grid_charge_kw - greatest(a.load_kw - a.solar_kw, 0)) as net_export_kw,
       sum(a.export_limit_kw) as export_limit_kw
from dispatch.schedule s
join fleet.prosumers p using (market_date, prosumer_id)
join fleet.availability a using (market_date, prosumer_id, start_utc)
group by s.market_date, p.site_id, s.start_utc;
comment on view dispatch.site_hours is 'Dispatch of each home or business in each hour, and its net export against its export limit. Unsold solar is assumed to be curtailed.';
comment on column dispatch.site_hours.net_export_kw is 'Power that leaves the site: sales less charging from the grid and the load that its solar does not serve.';
