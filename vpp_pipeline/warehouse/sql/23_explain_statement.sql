-- What each owner was paid on a settled day, delivery by delivery, and why that price.
create or replace view explain.statement as
select d.market_date, d.prosumer_id, o.product, o.start_utc, d.opportunity_id, d.delivered_kwh, d.clearing_price_usd_per_mwh,
       d.recharging_usd_per_mwh, d.floor_price_usd_per_mwh, d.cap_price_usd_per_mwh, d.paid_price_usd_per_mwh, d.is_forced,
       d.payment_usd, d.payment_usd - d.reservation_price_usd_per_mwh * d.delivered_kwh / 1000 as above_least_usd,
       d.satisfaction_score, d.reason as why
from evaluation.deliveries d
join market.opportunities o using (market_date, opportunity_id);
comment on view explain.statement is 'What each owner was paid on a settled day, delivery by delivery, and why that price. Ask for one prosumer_id at a time; payments add up to evaluation.settled_days.';
comment on column explain.statement.above_least_usd is 'Payment above the reservation price.';
comment on column explain.statement.why is 'Answer to the question in words.';
