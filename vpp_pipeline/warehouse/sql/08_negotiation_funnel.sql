-- Number of prosumers of each opportunity at each step from the call to the delivery.
create or replace view negotiation.funnel as
with offered as (
    select market_date, opportunity_id, sum(prosumers) as countered
    from negotiation.segments
    where round = 1 and mean_offer_usd_per_mwh is not null
    group by all
),
delivered as (
    select market_date, opportunity_id, count(*) as delivering from dispatch.payments group by all
)
select market_date, opportunity_id, product, asked, bids, coalesce(countered, 0)::bigint as countered, members as agreed,
       coalesce(delivering, 0) as delivering
from negotiation.summary
join market.opportunities using (market_date, opportunity_id)
left join offered using (market_date, opportunity_id)
left join delivered using (market_date, opportunity_id);
comment on view negotiation.funnel is 'Number of prosumers of each opportunity at each step from the call to the delivery.';
comment on column negotiation.funnel.bids is 'Number of prosumers that answered with an ask.';
comment on column negotiation.funnel.countered is 'Number of prosumers whose segment received an offer in the first round.';
comment on column negotiation.funnel.agreed is 'Number of prosumers that hold an option.';
comment on column negotiation.funnel.delivering is 'Number of prosumers that the schedule dispatches; 0 for a no-bid.';
