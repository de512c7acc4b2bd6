-- How many prosumers each opportunity began with, and how many were left at each step to the delivery.
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
comment on view negotiation.funnel is 'How many prosumers each opportunity began with, and how many were left at each step to the delivery.';
comment on column negotiation.funnel.bids is 'Prosumers that answered with an ask.';
comment on column negotiation.funnel.countered is 'Of those, prosumers whose kind was made an offer in the first round.';
comment on column negotiation.funnel.agreed is 'Prosumers that hold an option.';
comment on column negotiation.funnel.delivering is 'Prosumers that the schedule has deliver; none where there is no bid.';
