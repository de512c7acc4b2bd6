-- Expected and actual prices by hour.
create or replace view market.forecast_against_actual as
select f.market_date, f.start_utc, f.hour_ending, f.node,
       f.energy_usd_per_mwh as energy_forecast_usd_per_mwh, p.energy_usd_per_mwh as energy_actual_usd_per_mwh,
       p.energy_usd_per_mwh - f.energy_usd_per_mwh as energy_error_usd_per_mwh,
       f.spin_usd_per_mw_h as spin_forecast_usd_per_mw_h, p.spin_usd_per_mw_h as spin_actual_usd_per_mw_h,
       p.spin_usd_per_mw_h - f.spin_usd_per_mw_h as spin_error_usd_per_mw_h,
       f.nonspin_usd_per_mw_h as nonspin_forecast_usd_per_mw_h, p.nonspin_usd_per_mw_h as nonspin_actual_usd_per_mw_h,
       p.nonspin_usd_per_mw_h - f.nonspin_usd_per_mw_h as nonspin_error_usd_per_mw_h
from market.price_forecast f left join market.prices p using (market_date, start_utc, node);
comment on view market.forecast_against_actual is 'Expected and actual prices by hour. Actual prices are null until they are ingested (vpp-pipeline ingest or settle).';
comment on column market.forecast_against_actual.energy_forecast_usd_per_mwh is 'Expected price of energy.';
comment on column market.forecast_against_actual.energy_actual_usd_per_mwh is 'Clearing price of energy.';
comment on column market.forecast_against_actual.energy_error_usd_per_mwh is 'Actual less expected price of energy.';
comment on column market.forecast_against_actual.spin_forecast_usd_per_mw_h is 'Expected price of spinning reserve.';
comment on column market.forecast_against_actual.spin_actual_usd_per_mw_h is 'Clearing price of spinning reserve.';
comment on column market.forecast_against_actual.spin_error_usd_per_mw_h is 'Actual less expected price of spinning reserve.';
comment on column market.forecast_against_actual.nonspin_forecast_usd_per_mw_h is 'Expected price of non-spinning reserve.';
comment on column market.forecast_against_actual.nonspin_actual_usd_per_mw_h is 'Clearing price of non-spinning reserve.';
comment on column market.forecast_against_actual.nonspin_error_usd_per_mw_h is 'Actual less expected price of non-spinning reserve.';
