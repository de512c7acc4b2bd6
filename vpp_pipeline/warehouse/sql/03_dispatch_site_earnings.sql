-- Earnings of each home or business over all its devices; satisfaction is weighted by commitment.
create or replace view dispatch.site_earnings as
select market_date, site_id, count(distinct opportunity_id) as opportunities, sum(dispatched_kwh) as dispatched_kwh,
       sum(payment_usd) as payment_usd,
       sum(satisfaction_score * committed_capacity_kw) / sum(committed_capacity_kw) as satisfaction_score
from dispatch.payments
join negotiation.agreements using (market_date, opportunity_id, prosumer_id)
join fleet.prosumers using (market_date, prosumer_id)
group by market_date, site_id;
comment on view dispatch.site_earnings is 'Earnings of each home or business over all its devices; satisfaction is weighted by commitment.';
comment on column dispatch.site_earnings.opportunities is 'Number of bids in which the site delivers.';
