-- Why an opportunity is bid as it is, or not: binding limits, value of one more MW, concessions of both sides, and where the energy goes instead; `why` holds the answer in words.
create or replace view explain.bid as
with members as (
    select market_date, opportunity_id, count(*) filter (dispatched_kw > 0) as delivering, count(*) as options,
           sum(agreed_price_usd_per_mwh * dispatched_kw) / nullif(sum(dispatched_kw), 0) as mean_agreed,
           sum(floor_price_usd_per_mwh * dispatched_kw) / nullif(sum(dispatched_kw), 0) as mean_floor,
           sum(cap_price_usd_per_mwh * dispatched_kw) / nullif(sum(dispatched_kw), 0) as mean_cap,
           sum(first_ask_usd_per_mwh * dispatched_kw) / nullif(sum(dispatched_kw) filter (first_ask_usd_per_mwh is not null), 0) as mean_ask,
           sum(first_offer_usd_per_mwh * dispatched_kw)
               / nullif(sum(dispatched_kw) filter (first_offer_usd_per_mwh is not null), 0) as mean_offer,
           count(*) filter (dispatched_kw > 0 and owner_conceded_usd_per_mwh > desk_conceded_usd_per_mwh) as owners_conceded_more,
           sum(kept_usd_per_mwh * committed_capacity_kw) / nullif(sum(committed_capacity_kw) filter (kept_usd_per_mwh is not null), 0) as kept,
           sum(committed_capacity_kw - dispatched_kw) / 1000 as unused_mw
    from explain.member
    group by all
),
limits as (
    select market_date, opportunity_id, string_agg(format('{} ({} of them)', limit_name, times), ', ' order by times desc, limit_name) as limits
    from (
        select market_date, opportunity_id, limit_name, count(*) as times,
               row_number() over (partition by market_date, opportunity_id order by count(*) desc, limit_name) as place
        from (
            select market_date, opportunity_id, unnest(string_split(limit_name, '; ')) as limit_name
            from explain.member
            where dispatched_kw > 0
        )
        group by market_date, opportunity_id, limit_name
    )
    where place <= 3
    group by all
),
instead as (
    select market_date, opportunity_id, arg_max(instead_opportunity_id, kw) as instead_opportunity_id, arg_max(usd_per_mwh, kw) as instead_usd_per_mwh,
           arg_max(here_usd_per_mwh, kw) as here_usd_per_mwh, max(kw) / 1000 as instead_mw
    from (
        select market_date, opportunity_id, instead_opportunity_id, sum(committed_capacity_kw - dispatched_kw) as kw,
               sum(instead_usd_per_mwh * (committed_capacity_kw - dispatched_kw)) / sum(committed_capacity_kw - dispatched_kw) as usd_per_mwh,
               sum(margin_usd_per_mwh * (committed_capacity_kw - dispatched_kw)) / sum(committed_capacity_kw - dispatched_kw) as here_usd_per_mwh
        from explain.member
        where instead_usd_per_mwh > margin_usd_per_mwh
        group by all
    )
    group by all
),
storage as (
    select b.market_date, b.opportunity_id, h.*,
           format('{:.3f} to {:.3f} MWh of {:.3f} to {:.3f}', h.planned_opening_mwh, h.planned_stored_mwh, h.lowest_stored_mwh, h.highest_stored_mwh)
               as stored_words,
           case when b.product != 'energy' then '' else
               case when b.total_capacity_mw > 0 then
                   format('Discharge of up to {:.3f} MW, R is {:.3f} MW, is bid from ${:.2f}/MWh, the mean floor of {}. ',
                          b.total_capacity_mw, b.required_capacity_mw, b.bid_price_usd_per_mwh, if(b.coalition_size = 1, '1 member', b.coalition_size || ' members'))
                   else 'No discharge is bid in this hour. ' end
               || case when h.max_charge_mw > 0 then
                   replace(format('Charging of up to {:.3f} MW is bid at ${:.2f}/MWh, as it costs {} beyond the market''s price; what the energy earns later is the market''s to weigh. ',
                                  h.max_charge_mw, c.first_price + 0, if(h.charge_price_usd_per_mwh < 0, format('${:.2f}/MWh', -h.charge_price_usd_per_mwh), 'nothing')),
                           '$-', '-$')
                   else '' end
               || case when h.self_schedule_mw > 0 then
                   format('{:.3f} MW of the members'' sun is a self-schedule, sold whatever the price: the forecast reaches their floors. ', h.self_schedule_mw)
                   else '' end
               || case when c.top_mw > h.self_schedule_mw + h.max_discharge_mw + 1e-9 then
                   format('The last {:.3f} MW, at the market''s cap of ${:,.2f}/MWh, cover reserve that members hold beyond this power: reserve needs an energy bid over its range. ',
                          c.top_mw - h.self_schedule_mw - h.max_discharge_mw, c.top_price)
                   else '' end
           end as curve_words,
           case b.product when 'energy' then
               case when h.planned_discharge_mw > 1e-6 then format('it discharges {:.3f} MW', h.planned_discharge_mw)
                    when h.planned_charge_mw > 1e-6 then format('it charges {:.3f} MW', h.planned_charge_mw) else 'it neither charges nor discharges' end
               else format('{:.3f} MW of it clear', b.expected_mw + 0) end as plan_words
    from bids.final_bids b
    join dispatch.storage_by_hour h using (market_date, resource_id, start_utc)
    left join (
        select bid_id, arg_min(price_usd_per_mwh, segment) as first_price, arg_max(price_usd_per_mwh, segment) as top_price, max(to_mw) as top_mw
        from bids.bid_segments
        group by bid_id
    ) c using (bid_id)
    where b.status = 'bid'
),
facts as (
    select b.market_date, b.opportunity_id, b.product, b.start_utc, b.status, b.total_capacity_mw, b.required_capacity_mw,
           if(b.product = 'energy', '/MWh', '/MW per hour') as unit, b.forecast_price, b.bid_price_usd_per_mwh, b.expected_profit_usd, p.shadow_price_usd_per_mwh,
           case when b.status = 'no_bid' and o.closed_reason is not null then 'the resource may not offer it'
                when b.status = 'no_bid' and n.status = 'no_bid' then 'too few deals'
                when b.status = 'no_bid' and p.refusal is not null then 'cost above the market''s cap'
                when b.status = 'no_bid' then 'worth more elsewhere'
                when h.opportunity_id is not null and b.total_capacity_mw = 0 then 'energy: charging, sun, or cover of reserve alone'
                when b.total_capacity_mw >= b.required_capacity_mw - 0.005 then 'R: required capacity is reached'
                when h.opportunity_id is not null then 'deals: members without one for all that their part may be asked for are left out'
                when p.shadow_price_usd_per_mwh < -1e-6 then 'smallest quantity: below it there would be no bid'
                else 'price: members deliver no more at it' end as binding,
           coalesce(m.delivering, 0) as delivering, coalesce(m.options, 0) as options, l.limits, m.mean_ask as first_ask_usd_per_mwh,
           m.mean_offer as first_offer_usd_per_mwh, m.mean_agreed as agreed_usd_per_mwh,
           m.mean_floor as floor_usd_per_mwh, m.mean_cap as cap_usd_per_mwh, m.owners_conceded_more, m.kept as kept_usd_per_mwh,
           m.unused_mw, i.instead_opportunity_id, i.instead_usd_per_mwh, i.here_usd_per_mwh, i.instead_mw, b.reason, b.coalition_size,
           h.curve_words, h.plan_words, h.stored_words, h.stored_value_usd_per_mwh
    from bids.final_bids b
    left join dispatch.positions p using (market_date, opportunity_id)
    left join negotiation.summary n using (market_date, opportunity_id)
    left join market.opportunities o using (market_date, opportunity_id)
    left join members m using (market_date, opportunity_id)
    left join limits l using (market_date, opportunity_id)
    left join instead i using (market_date, opportunity_id)
    left join storage h using (market_date, opportunity_id)
)
select * exclude (unit, coalition_size, curve_words, plan_words, stored_words, stored_value_usd_per_mwh), rtrim(case
    when curve_words is not null then
        if(product = 'energy', curve_words,
           format('{:.3f} of {:.3f} MW from ${:.2f}{}, the mean floor of {}; the market awards energy and reserve over the same MW. ', total_capacity_mw,
                  required_capacity_mw, bid_price_usd_per_mwh, unit, if(coalition_size = 1, '1 member', coalition_size || ' members')))
        || replace(format('At the forecast of ${:.2f}{} {}; state of charge {}, a stored MWh then worth ${:.2f}. ', forecast_price, unit, plan_words, stored_words,
                          stored_value_usd_per_mwh), '$-', '-$')
        || coalesce(replace(format('{}, from a mean floor of ${:.2f} to a mean cap of ${:.2f}, paid ${:.2f}{} on average. ', if(delivering = 1, '1 member delivers', delivering || ' members deliver'),
                                   floor_usd_per_mwh, cap_usd_per_mwh, agreed_usd_per_mwh, unit), '$-', '-$'), '')
    when status = 'bid' then
        format('{:.2f} of {:.2f} MW: {}. ', total_capacity_mw, required_capacity_mw, binding)
        || replace(format('{} of {} prosumers with an option deliver, {}, at ${:.2f}{} on average against an expected ${:.2f}{}. ', delivering, options,
                          if(cap_usd_per_mwh > floor_usd_per_mwh + 1e-9,
                             format('from a mean floor of ${:.2f} to a mean cap of ${:.2f}', floor_usd_per_mwh, cap_usd_per_mwh), 'each at one price'),
                          agreed_usd_per_mwh, unit, forecast_price, unit), '$-', '-$')
        || coalesce(replace(format('Their first asks were ${:.2f} and our first offers ${:.2f} on average; {} of them conceded more than we did. ',
                                   first_ask_usd_per_mwh, first_offer_usd_per_mwh, owners_conceded_more), '$-', '-$'), '')
        || coalesce(format('Most frequent limits: {}. ', limits), '')
        || case when shadow_price_usd_per_mwh > 1e-6 then format('One more MW would earn ${:.2f} per hour. ', shadow_price_usd_per_mwh)
                when shadow_price_usd_per_mwh < -1e-6
                    then format('One MW less, if allowed, would earn ${:.2f} per hour. ', -shadow_price_usd_per_mwh)
                else '' end
    else 'No bid: ' || reason || '. ' end
    || coalesce(replace(format('{:.2f} MW under option here mostly deliver in {} instead: ${:.2f} per MW and hour after payment, against ${:.2f} here.',
                               instead_mw, instead_opportunity_id, instead_usd_per_mwh, here_usd_per_mwh), '$-', '-$'), '')) as why
from facts;
comment on view explain.bid is 'Why an opportunity is bid as it is, or not: binding limits, value of one more MW, concessions of both sides, and where the energy goes instead; `why` holds the answer in words. Name the market_date too where the warehouse holds many days: it is much faster.';
comment on column explain.bid.binding is 'Limit that keeps the quantity from being larger (or smaller).';
comment on column explain.bid.delivering is 'Number of prosumers that deliver.';
comment on column explain.bid.options is 'Number of prosumers that hold an option, delivering or not.';
comment on column explain.bid.limits is 'Limits that most often keep delivering prosumers from delivering more; at most three.';
comment on column explain.bid.first_ask_usd_per_mwh is 'Mean first ask of delivering prosumers, weighted by delivery; null where messages were not published.';
comment on column explain.bid.first_offer_usd_per_mwh is 'Mean first offer to these prosumers.';
comment on column explain.bid.agreed_usd_per_mwh is 'Mean price that delivering prosumers are paid if the forecast clears.';
comment on column explain.bid.floor_usd_per_mwh is 'Mean floor of their deals, on which the price curve rests.';
comment on column explain.bid.cap_usd_per_mwh is 'Mean cap of their deals.';
comment on column explain.bid.owners_conceded_more is 'Number of delivering prosumers that conceded more than the aggregator did.';
comment on column explain.bid.kept_usd_per_mwh is 'Value to the day of keeping the stored energy behind one more MWh, mean over options (a dual); energy only.';
comment on column explain.bid.unused_mw is 'Capacity under option that is not called.';
comment on column explain.bid.instead_opportunity_id is 'Opportunity in which most of the capacity not called here delivers instead.';
comment on column explain.bid.instead_usd_per_mwh is 'Expected price less the agreed price there.';
comment on column explain.bid.here_usd_per_mwh is 'Expected price less the agreed price here.';
comment on column explain.bid.instead_mw is 'Capacity under option here that delivers there instead.';
comment on column explain.bid.why is 'Answer to the question in words.';
