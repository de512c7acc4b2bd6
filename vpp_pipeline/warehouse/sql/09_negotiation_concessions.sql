-- Mean asks and offers by round and product, weighted by capacity.
create or replace view negotiation.concessions as
select s.market_date, o.product, s.round, sum(s.prosumers)::bigint as talks,
       sum(s.mean_ask_usd_per_mwh * s.capacity_kw) / nullif(sum(s.capacity_kw), 0) as mean_ask_usd_per_mwh,
       sum(s.mean_offer_usd_per_mwh * s.capacity_kw)
           / nullif(sum(s.capacity_kw) filter (s.mean_offer_usd_per_mwh is not null), 0) as mean_offer_usd_per_mwh,
       sum(s.accepted)::bigint as accepted, sum(s.accepted_kw) / 1000 as accepted_mw, sum(s."left")::bigint as "left"
from negotiation.segments s join market.opportunities o using (market_date, opportunity_id)
group by s.market_date, o.product, s.round;
comment on view negotiation.concessions is 'Mean asks and offers by round and product, weighted by capacity. Prosumers with a closed deal, or that left, do not count in later rounds.';
comment on column negotiation.concessions.talks is 'Number of prosumers that negotiate in the round, counted once per opportunity.';
comment on column negotiation.concessions.accepted_mw is 'Capacity of the deals that closed in the round, over all opportunities.';
