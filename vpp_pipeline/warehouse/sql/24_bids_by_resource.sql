-- Bids of each resource: what it is certified for, and expected profit from energy and from reserve apart.
create or replace view bids.by_resource as
with bid as (
    select market_date, coalesce(resource_id, 'vpp') as resource_id, count(*) filter (status = 'bid') as bids,
           coalesce(sum(total_capacity_mw * duration_hours) filter (product = 'energy'), 0) as energy_mwh,
           coalesce(sum(total_capacity_mw * duration_hours) filter (product != 'energy'), 0) as reserve_mw_h,
           coalesce(sum(expected_profit_usd) filter (product = 'energy'), 0) as energy_profit_usd,
           coalesce(sum(expected_profit_usd) filter (product != 'energy'), 0) as reserve_profit_usd,
           sum(expected_profit_usd) as expected_profit_usd, sum(payments_usd) as payments_usd
    from bids.final_bids
    group by all
),
member as (
    select market_date, coalesce(resource_id, 'vpp') as resource_id, count(*) as prosumers from fleet.prosumers group by all
)
select b.market_date, b.resource_id, r.participation, r.node, m.prosumers, r.maximum_mw, r.certified_spin_mw, r.certified_nonspin_mw,
       r.resource_id is not null and (r.certified_spin_mw is null or r.certified_nonspin_mw is null) as is_assumed,
       b.bids, b.energy_mwh, b.reserve_mw_h, b.energy_profit_usd, b.reserve_profit_usd, b.expected_profit_usd, b.payments_usd
from bid b
left join market.resources r on r.market_date = b.market_date and r.resource_id = b.resource_id
left join member m on m.market_date = b.market_date and m.resource_id = b.resource_id;
comment on view bids.by_resource is 'Bids of each resource: what it is certified for, and expected profit from energy and from reserve apart.';
comment on column bids.by_resource.prosumers is 'Number of its members.';
comment on column bids.by_resource.is_assumed is 'Whether a certification is assumed, not stated: reserve may then not be sold without one.';
comment on column bids.by_resource.bids is 'Number of its bids, no-bids left out.';
comment on column bids.by_resource.energy_mwh is 'Energy bid, MW times hours.';
comment on column bids.by_resource.reserve_mw_h is 'Both reserves bid, MW times hours.';
comment on column bids.by_resource.energy_profit_usd is 'Expected profit of its energy bids: what this plan earns without reserve.';
comment on column bids.by_resource.reserve_profit_usd is 'Expected profit of its reserve bids, which certification must cover.';
comment on column bids.by_resource.expected_profit_usd is 'Expected profit of all its bids.';
comment on column bids.by_resource.payments_usd is 'Payments to its members if all its bids are awarded.';
