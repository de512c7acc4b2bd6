-- Earnings of each prosumer on a day, and why it earned that or nothing.
create or replace view explain.earnings as
with delivered as (
    select p.market_date, p.prosumer_id, count(*) as deliveries,
           sum(p.dispatched_kwh) filter (o.product = 'energy') as energy_kwh, sum(p.dispatched_kwh) filter (o.product != 'energy') as reserve_kw_h,
           sum(p.payment_usd) as payment_usd, sum(a.reservation_price_usd_per_mwh * p.dispatched_kwh / 1000) as reservation_usd,
           sum(p.satisfaction_score * a.committed_capacity_kw) / sum(a.committed_capacity_kw) as satisfaction_score,
           arg_max(p.opportunity_id, p.payment_usd) as best_opportunity_id, max(p.payment_usd) as best_usd,
           arg_max(p.agreed_price_usd_per_mwh, p.payment_usd) as best_price_usd_per_mwh
    from dispatch.payments p
    join negotiation.agreements a using (market_date, opportunity_id, prosumer_id)
    join market.opportunities o using (market_date, opportunity_id)
    group by all
),
wanted as (
    select market_date, prosumer_id, count(*) filter (holds_option) as options, mode(reason) filter (not holds_option) as usual_reason
    from negotiation.agreements
    group by all
)
select f.market_date, f.prosumer_id, f.site_id, coalesce(f.archetype, f.site_type) as archetype, f.store,
       coalesce(w.options, 0) as options, coalesce(d.deliveries, 0) as deliveries, coalesce(d.energy_kwh, 0) as energy_kwh,
       coalesce(d.reserve_kw_h, 0) as reserve_kw_h, coalesce(d.payment_usd, 0) as payment_usd, coalesce(s.top_up_usd, 0) as top_up_usd,
       coalesce(d.payment_usd, 0) + coalesce(s.top_up_usd, 0) as earned_usd, coalesce(d.payment_usd - d.reservation_usd, 0) as above_least_usd,
       d.satisfaction_score, d.best_opportunity_id, d.best_usd,
       case when d.deliveries > 0 then
                replace(format('{} deliveries of {} options, ${:.2f} above the reservation prices; most, ${:.2f}, for {} at ${:.2f}', d.deliveries,
                               w.options, d.payment_usd - d.reservation_usd, d.best_usd, d.best_opportunity_id, d.best_price_usd_per_mwh),
                        '$-', '-$')
            when w.options > 0 then format('{} options, none called: others deliver at less cost, or the owner needs the energy', w.options)
            when f.store = 'none' and not f.has_solar then 'neither store nor solar'
            else coalesce('no option; most often: ' || w.usual_reason, 'not asked') end as why
from fleet.prosumers f
left join delivered d using (market_date, prosumer_id)
left join wanted w using (market_date, prosumer_id)
left join dispatch.owen_shares s using (market_date, prosumer_id);
comment on view explain.earnings is 'Earnings of each prosumer on a day, and why it earned that or nothing.';
comment on column explain.earnings.archetype is 'Archetype of the household or business; its site type in a fleet without archetypes.';
comment on column explain.earnings.options is 'Number of opportunities in which it holds an option.';
comment on column explain.earnings.deliveries is 'Number of opportunities in which it delivers.';
comment on column explain.earnings.energy_kwh is 'Energy that the prosumer sold.';
comment on column explain.earnings.reserve_kw_h is 'Reserve held, kW times hours.';
comment on column explain.earnings.payment_usd is 'Payments at agreed prices: what is paid if the forecast clears.';
comment on column explain.earnings.top_up_usd is 'Top-up under payments.rule = owen.';
comment on column explain.earnings.earned_usd is 'Payments and top-up together.';
comment on column explain.earnings.above_least_usd is 'Payments above the reservation prices.';
comment on column explain.earnings.satisfaction_score is 'Mean satisfaction, weighted by commitment, 0-10; null without deliveries.';
comment on column explain.earnings.best_opportunity_id is 'Opportunity with the largest payment.';
comment on column explain.earnings.best_usd is 'Payment in that opportunity.';
comment on column explain.earnings.why is 'Answer to the question in words.';
