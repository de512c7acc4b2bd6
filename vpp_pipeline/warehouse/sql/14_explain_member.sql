-- Why each prosumer with an option delivers what it does in an opportunity: concessions of both sides, binding limits, and where its energy goes instead.
create schema if not exists explain;
create or replace view explain.member as
with talk as (
    select market_date, opportunity_id, prosumer_id,
           arg_min(price_usd_per_mwh, round) filter (kind = 'ask') as first_ask,
           arg_min(price_usd_per_mwh, round) filter (kind = 'offer') as first_offer
    from negotiation.messages
    group by all
),
held as (
    select a.market_date, a.opportunity_id, a.prosumer_id, o.product, o.start_utc, o.duration_hours, o.forecast_price,
           a.committed_capacity_kw, a.reservation_price_usd_per_mwh, a.agreed_price_usd_per_mwh, a.closed_round,
           coalesce(a.floor_price_usd_per_mwh, a.agreed_price_usd_per_mwh) as floor_price_usd_per_mwh,
           coalesce(a.cap_price_usd_per_mwh, a.agreed_price_usd_per_mwh) as cap_price_usd_per_mwh,
           coalesce(p.dispatched_kw, 0) as dispatched_kw, coalesce(p.payment_usd, 0) as payment_usd,
           o.forecast_price - a.agreed_price_usd_per_mwh as margin_usd_per_mwh, s.share_fraction, s.is_bound
    from negotiation.agreements a
    left join dispatch.storage_shares s using (market_date, prosumer_id)
    join market.opportunities o using (market_date, opportunity_id)
    left join dispatch.payments p using (market_date, opportunity_id, prosumer_id)
    where a.holds_option
),
stored as (
    select h.market_date, h.opportunity_id, h.prosumer_id,
           avg(s.stored_value_usd_per_mwh / p.discharge_efficiency) as kept_usd_per_mwh
    from held h
    join dispatch.schedule s on s.market_date = h.market_date and s.prosumer_id = h.prosumer_id
        and s.start_utc >= h.start_utc and s.start_utc < h.start_utc + to_hours(h.duration_hours)
    join fleet.prosumers p on p.market_date = h.market_date and p.prosumer_id = h.prosumer_id
    where p.store != 'none' and h.product = 'energy'
    group by all
),
stopped as (
    select h.market_date, h.opportunity_id, h.prosumer_id, string_agg(distinct l.limit_name, '; ' order by l.limit_name) as limits
    from held h
    join dispatch.limits_reached l on l.market_date = h.market_date and l.prosumer_id = h.prosumer_id
        and l.start_utc >= h.start_utc and l.start_utc < h.start_utc + to_hours(h.duration_hours)
    group by all
),
bid as (
    select market_date, opportunity_id, status, status = 'bid' and total_capacity_mw >= required_capacity_mw - 0.005 as is_full
    from bids.final_bids
),
other as (
    select h.market_date, h.opportunity_id, h.prosumer_id,
           arg_max(e.opportunity_id, e.margin_usd_per_mwh) as instead_opportunity_id, max(e.margin_usd_per_mwh) as instead_usd_per_mwh
    from held h
    join held e on e.market_date = h.market_date and e.prosumer_id = h.prosumer_id and e.opportunity_id != h.opportunity_id
        and e.dispatched_kw > 0
        -- stored energy can be sold at another hour; power held or sold in one hour takes nothing from another
        and ((h.product = 'energy' and e.product = 'energy')
             or (e.start_utc < h.start_utc + to_hours(h.duration_hours) and h.start_utc < e.start_utc + to_hours(e.duration_hours)))
    where h.dispatched_kw < h.committed_capacity_kw - 1e-3 and h.is_bound is null -- a storage resource has no choice to make for it
    group by all
)
select h.market_date, h.opportunity_id, h.prosumer_id, h.product, h.start_utc, h.committed_capacity_kw, h.dispatched_kw, h.payment_usd,
       t.first_ask as first_ask_usd_per_mwh, t.first_offer as first_offer_usd_per_mwh, h.reservation_price_usd_per_mwh,
       h.floor_price_usd_per_mwh, h.cap_price_usd_per_mwh, h.agreed_price_usd_per_mwh, t.first_ask - h.agreed_price_usd_per_mwh as owner_conceded_usd_per_mwh,
       h.agreed_price_usd_per_mwh - t.first_offer as desk_conceded_usd_per_mwh, h.closed_round, h.forecast_price, h.margin_usd_per_mwh,
       k.kept_usd_per_mwh, o.instead_opportunity_id, o.instead_usd_per_mwh,
       case when not h.is_bound then 'left out: no deal for all that its part may be asked for'
            when h.dispatched_kw >= h.committed_capacity_kw - 1e-3 then 'its commitment'
            when h.is_bound then format('its part ({:.1f}%) of the award to its storage resource', 100 * h.share_fraction)
            when s.limits is not null then s.limits
            when h.dispatched_kw > 1e-3 and b.is_full then 'R: required capacity is reached'
            when h.dispatched_kw > 1e-3 then 'price: the rest is worth more elsewhere'
            when o.instead_opportunity_id is not null then 'price: worth more in ' || o.instead_opportunity_id
            when b.is_full then 'R: others deliver it'
            when b.status = 'no_bid' then 'no-bid'
            else 'price: not worth it here' end as limit_name, h.share_fraction
from held h
left join bid b using (market_date, opportunity_id)
left join talk t using (market_date, opportunity_id, prosumer_id)
left join stored k using (market_date, opportunity_id, prosumer_id)
left join stopped s using (market_date, opportunity_id, prosumer_id)
left join other o using (market_date, opportunity_id, prosumer_id);
comment on view explain.member is 'Why each prosumer with an option delivers what it does in an opportunity: concessions of both sides, binding limits, and where its energy goes instead. Ask for one market_date, and for one opportunity or prosumer at a time where the fleet is large.';
comment on column explain.member.dispatched_kw is 'Mean power delivered or held over the block; 0 if not called.';
comment on column explain.member.payment_usd is 'Payment at the agreed price: what is paid if the forecast clears.';
comment on column explain.member.floor_price_usd_per_mwh is 'Floor of the deal, for which it is called; the agreed price of a fixed deal.';
comment on column explain.member.cap_price_usd_per_mwh is 'Cap of the deal, the most that it is paid; the agreed price of a fixed deal.';
comment on column explain.member.first_ask_usd_per_mwh is 'First ask of the prosumer; null where messages were not published.';
comment on column explain.member.first_offer_usd_per_mwh is 'First offer of the aggregator; null where messages were not published.';
comment on column explain.member.owner_conceded_usd_per_mwh is 'First ask less the agreed price.';
comment on column explain.member.desk_conceded_usd_per_mwh is 'Agreed price less the first offer.';
comment on column explain.member.margin_usd_per_mwh is 'Expected price less the agreed price, before charging.';
comment on column explain.member.kept_usd_per_mwh is 'Value to the day of keeping the stored energy behind one more MWh (a dual over the efficiency); energy only.';
comment on column explain.member.instead_opportunity_id is 'Most valuable opportunity in which this prosumer delivers instead: energy in any hour, or another product of the same hour; null if it delivers its commitment.';
comment on column explain.member.instead_usd_per_mwh is 'Expected price less the agreed price there.';
comment on column explain.member.limit_name is 'Limit that keeps it from delivering more.';
comment on column explain.member.share_fraction is 'Part of the stored energy of its storage resource that it gives; null where it is no member of one.';
