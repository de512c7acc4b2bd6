-- Bids of each resource: what it is certified for, and expected profit from energy and from reserve apart.
create or replace view bids.by_resource as
with bid as (
    select market_date, coalesce(resource_id, 'vpp') as resource_id, count(*) filter (status = 'bid') as bids,
           coalesce(sum(total_capacity_mw * duration_hours) filter (product = 'energy'), 0) as energy_mwh,
           coalesce(sum(total_capacity_mw * duration_hours) filter (product != 'energy'), 0) as reserve_mw_h,
           coalesce(sum(expected_profit_usd) filter (product = 'energy'), 0) as energy_profit_usd,
           coalesce(sum(expected_profit_usd) filter (product != 'energy'), 0) as reserve_profit_usd,
           sum(expected_revenue_usd) as expected_revenue_usd, sum(expected_profit_usd) as expected_profit_usd, sum(payments_usd) as payments_usd
    from bids.final_bids
    group by all
),
store as (
    select market_date, resource_id, any_value(pool_id) as pool_id, sum(max_charge_mw) as charge_mwh,
           sum(greatest(offered_spin_mw, offered_nonspin_mw)) as reserve_mw_h, max(max_charge_mw) as max_charge_mw,
           max(self_schedule_mw + greatest(max_discharge_mw, offered_spin_mw, offered_nonspin_mw)) as max_sale_mw
    from dispatch.storage_by_hour
    group by market_date, resource_id
),
member as (
    select p.market_date, coalesce(m.resource_id, p.resource_id, 'vpp') as resource_id, count(*) as prosumers
    from fleet.prosumers p left join fleet.storage_members m using (market_date, prosumer_id)
    group by all
)
select b.market_date, b.resource_id, r.participation, r.node, m.prosumers, coalesce(s.max_sale_mw, r.maximum_mw) as maximum_mw,
       coalesce(c.certified_spin_mw, r.certified_spin_mw) as certified_spin_mw,
       coalesce(c.certified_nonspin_mw, r.certified_nonspin_mw) as certified_nonspin_mw,
       r.resource_id is not null and (r.certified_spin_mw is null or r.certified_nonspin_mw is null) as is_assumed,
       b.bids, b.energy_mwh, coalesce(s.reserve_mw_h, b.reserve_mw_h) as reserve_mw_h, b.energy_profit_usd, b.reserve_profit_usd,
       b.expected_profit_usd, b.payments_usd, s.pool_id, c.bound_members, coalesce(s.max_charge_mw, 0) as max_charge_mw,
       coalesce(s.charge_mwh, 0) as charge_mwh, b.expected_revenue_usd
from bid b
left join store s on s.market_date = b.market_date and s.resource_id = b.resource_id
left join dispatch.storage_resources c on c.market_date = b.market_date and c.resource_id = b.resource_id
left join market.resources r on r.market_date = b.market_date and r.resource_id = coalesce(s.pool_id, b.resource_id)
left join member m on m.market_date = b.market_date and m.resource_id = b.resource_id;
comment on view bids.by_resource is 'Bids of each resource: what it is certified for, and expected profit from energy and from reserve apart. A pool that takes part as storage has a row for each storage resource that it is cut into.';
comment on column bids.by_resource.resource_id is 'Resource in the market, of `market.resources` or, of a pool, of `dispatch.storage_resources`.';
comment on column bids.by_resource.pool_id is 'Resource of `market.resources` that a storage resource is cut from; null for others.';
comment on column bids.by_resource.participation is 'How it, or the pool that it is cut from, takes part.';
comment on column bids.by_resource.prosumers is 'Number of its members.';
comment on column bids.by_resource.bound_members is 'Members of a storage resource with a deal for all that their part may be asked for; null for others.';
comment on column bids.by_resource.maximum_mw is 'Pmax: the most that it may sell in an hour; of a storage resource the most that it bids.';
comment on column bids.by_resource.max_charge_mw is 'Most charging that it bids in an hour.';
comment on column bids.by_resource.certified_spin_mw is 'Certified spinning reserve; of a storage resource its part of the pool''s, or all it can hold where that is assumed.';
comment on column bids.by_resource.certified_nonspin_mw is 'The same for non-spinning reserve.';
comment on column bids.by_resource.is_assumed is 'Whether a certification is assumed, not stated: reserve may then not be sold without one.';
comment on column bids.by_resource.bids is 'Number of its bids, no-bids left out.';
comment on column bids.by_resource.energy_mwh is 'Energy bid, MW times hours; of a storage resource the discharge offered, more than its stored energy may allow.';
comment on column bids.by_resource.charge_mwh is 'Charging bid, MW times hours; 0 where none is bid.';
comment on column bids.by_resource.reserve_mw_h is 'Both reserves bid, MW times hours; of a storage resource, which offers both over the same MW, the larger one of each hour.';
comment on column bids.by_resource.energy_profit_usd is 'Expected profit of its energy bids: what this plan earns without reserve.';
comment on column bids.by_resource.reserve_profit_usd is 'Expected profit of its reserve bids, which certification must cover.';
comment on column bids.by_resource.expected_revenue_usd is 'Expected revenue of all its bids.';
comment on column bids.by_resource.expected_profit_usd is 'Expected profit of all its bids.';
comment on column bids.by_resource.payments_usd is 'Payments to its members if all its bids are awarded; of a storage resource, for the award that the forecast gives.';
