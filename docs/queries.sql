-- Questions to the warehouse. Each runs as it stands: `duckdb data/vpp.duckdb < docs/queries.sql`, or one by one from Python.

-- 1. What do we bid on each day?
select market_date, product, count(*) as bids, sum(total_capacity_mw * duration_hours) as mwh, sum(expected_profit_usd) as profit_usd
from bids.final_bids
where status = 'bid'
group by all
order by all;

-- 2. Why is there no bid?
select opportunity_id, forecast_price, reason
from bids.final_bids
where status = 'no_bid'
order by market_date, opportunity_id;

-- 3. Which prosumers earn most, and how content are they?
select prosumer_id, sum(payment_usd) as earned_usd, count(*) as deliveries,
       sum(satisfaction_score * committed_capacity_kw) / sum(committed_capacity_kw) as satisfaction
from dispatch.payments join negotiation.agreements using (market_date, opportunity_id, prosumer_id)
group by prosumer_id
order by earned_usd desc
limit 10;

-- 4. How did one prosumer negotiate the 12:00 request, word by word?
select round, sender, kind, round(capacity_kw, 2) as capacity_kw, round(price_usd_per_mwh, 2) as price, reason
from negotiation.messages
where opportunity_id = 'energy_20230815_1200_vpp-requests' and prosumer_id = 'prosumer_005'
order by round, case kind when 'ask' then 1 when 'offer' then 2 else 3 end;

-- 5. What does the fleet do hour by hour?
select strftime(start_utc at time zone 'America/Los_Angeles', '%H:%M') as pacific, round(sum(charge_kw) / 1000, 2) as charge_mw,
       round(sum(discharge_kw + solar_sold_kw) / 1000, 2) as sold_mw, round(sum(spin_kw + nonspin_kw) / 1000, 2) as reserve_mw,
       round(sum(stored_kwh) / 1000, 2) as stored_mwh
from dispatch.schedule
where market_date = (select max(market_date) from dispatch.schedule)
group by start_utc
order by start_utc;

-- 6. At what price would one more MW of each bid pay?
select opportunity_id, quantity_mw, required_capacity_mw, round(shadow_price_usd_per_mwh, 2) as worth_of_one_more_mw
from dispatch.positions join market.opportunities using (market_date, opportunity_id)
where is_bid and shadow_price_usd_per_mwh > 0
order by worth_of_one_more_mw desc
limit 10;

-- 7. Does the money add up, and how good is the day at most?
select r.market_date, sum_bid_profit_usd, unallocated_usd, r.objective_usd, bound_usd, round(100 * gap_fraction, 4) as gap_percent, method
from dispatch.reconciliation r join dispatch.proof p using (market_date)
order by market_date;

-- 8. Which rules was the day held against?
select market_date, check_name, passed, description from bids.checks order by all;

-- 9. Why is each prosumer in or out of the 12:00 request?
select prosumer_id, holds_option, rank, round(committed_capacity_kw, 2) as kw, round(agreed_price_usd_per_mwh, 2) as price, reason
from negotiation.agreements
where opportunity_id = 'energy_20230815_1200_vpp-requests'
order by holds_option desc, rank, prosumer_id;

-- 10. How did each kind of prosumer negotiate it, round by round?
select round, segment, prosumers, round(mean_ask_usd_per_mwh, 2) as mean_ask, round(mean_offer_usd_per_mwh, 2) as mean_offer,
       accepted, "left" as walked_away, round(accepted_kw / 1000, 3) as accepted_mw
from negotiation.segments
where opportunity_id = 'energy_20230815_1200_vpp-requests'
order by round, segment;

-- 11. Which homes with battery and EV earn most, all devices together?
select site_id, battery_kwh, ev_kwh, solar_size_kw, opportunities, round(payment_usd, 2) as payment_usd, round(satisfaction_score, 2) as satisfaction
from fleet.sites join dispatch.site_earnings using (market_date, site_id)
where battery_kwh > 0 and ev_kwh > 0
order by payment_usd desc
limit 10;

-- 12. What did owners write, and what became of it?
select prosumer_id, quote, preference, before, after, status
from fleet.notes
order by market_date, prosumer_id, part;

-- 13. What goes to the grid over the meter of each site, and how near is that to its limit?
select site_id, max(net_export_kw) as most_kw, any_value(export_limit_kw) as limit_kw, round(100 * max(net_export_kw / nullif(export_limit_kw, 0)), 1) as most_percent
from dispatch.site_hours
where net_export_kw > 0
group by site_id
order by most_percent desc
limit 10;

-- 14. Who earns most beyond the agreed prices, and why? (With `payments.rule = agreed`, no owner does.)
select prosumer_id, round(sum(payment_usd), 2) as agreed_usd, round(any_value(coalesce(top_up_usd, 0)), 2) as top_up_usd,
       any_value(case when top_up_usd is null then 'agreed prices are all that is paid'
                      when top_up_usd = 0 then 'adds nothing beyond what it is paid'
                      when from_reserve_usd > from_energy_usd + from_charging_usd then 'holds reserve that is worth more than agreed'
                      when from_energy_usd > 0 then 'sells energy when it is worth more than agreed and charging cost'
                      else 'charges when the fleet has plenty' end) as why
from dispatch.payments left join dispatch.owen_shares using (market_date, prosumer_id)
group by market_date, prosumer_id
order by top_up_usd desc, agreed_usd desc
limit 10;

-- 15. What is one more MWh, or MW of reserve, from any home worth in each hour?
select strftime(start_utc at time zone 'America/Los_Angeles', '%H:%M') as pacific, round(sell_usd_per_mwh, 2) as sold,
       round(buy_usd_per_mwh, 2) as charged, round(spin_usd_per_mw_h, 2) as spin, round(nonspin_usd_per_mw_h, 2) as nonspin
from dispatch.internal_prices
where market_date = (select max(market_date) from dispatch.internal_prices)
order by start_utc;

-- 16. Why this bid, and what limits it?
select opportunity_id, why
from explain.bid
where status = 'bid'
order by expected_profit_usd desc
limit 10;

-- 17. Who conceded what for the 12:00 request, and what stops each member from delivering more?
select prosumer_id, round(first_ask_usd_per_mwh, 2) as first_ask, round(first_offer_usd_per_mwh, 2) as first_offer,
       round(agreed_price_usd_per_mwh, 2) as agreed, round(owner_conceded_usd_per_mwh, 2) as owner_conceded,
       round(desk_conceded_usd_per_mwh, 2) as desk_conceded, round(dispatched_kw, 2) as kw, limit_name
from explain.member
where opportunity_id = 'energy_20230815_1200_vpp-requests' and dispatched_kw > 0
order by dispatched_kw desc
limit 10;

-- 18. To which opportunity does a kWh go instead, and what is it worth there?
select opportunity_id, round(instead_mw, 2) as mw_not_called, instead_opportunity_id, round(here_usd_per_mwh, 2) as worth_here,
       round(instead_usd_per_mwh, 2) as worth_there
from explain.bid
where instead_opportunity_id is not null
order by instead_mw desc
limit 10;

-- 19. What is our position, hour by hour and product by product?
select pacific, product, bid_mw, round(net_mw, 2) as net_mw, round(forecast_price, 2) as forecast_price
from dispatch.position_by_hour
where market_date = (select max(market_date) from dispatch.position_by_hour)
order by start_utc, product;

-- 20. How far do calls get: asked, answered, offered, agreed, delivering?
select product, sum(asked) as asked, sum(bids) as bids, sum(countered) as countered, sum(agreed) as agreed, sum(delivering) as delivering
from negotiation.funnel
group by product
order by product;

-- 21. Which limits stop prosumers most often?
select limit_name, count(*) as times, count(distinct prosumer_id) as prosumers
from dispatch.limits_reached
group by limit_name
order by times desc;

-- 22. What does each kind of home or business bring and earn?
select archetype, sites, prosumers, delivering, round(capacity_kwh) as kwh, round(payment_usd, 2) as paid_usd, round(usd_per_site, 2) as usd_per_site
from fleet.by_archetype
order by market_date, paid_usd desc;

-- 23. Why did somebody earn nothing?
select prosumer_id, archetype, store, why
from explain.earnings
where earned_usd = 0
order by market_date, prosumer_id
limit 10;

-- 24. How wrong was the forecast? (Actual prices are there once they are ingested.)
select market_date, count(*) as hours, count(energy_actual_usd_per_mwh) as known, round(avg(abs(energy_error_usd_per_mwh)), 2) as mean_absolute_error
from market.forecast_against_actual
group by market_date
order by market_date;

-- 25. How much is bid otherwise than on the market day before?
select count(*) as hours_changed, coalesce(sum(abs(change_mw)), 0) as mw, count(*) filter (what like 'new%') as new, count(*) filter (what like 'gone%') as gone
from bids.changes;

-- 26. Which columns are prices of a MWh?
select table_name, column_name, description
from explain.catalogue
where unit = '$/MWh'
order by table_name, position;

-- 27. Which runs published bids of each day, and with which settings?
select market_date, run_number, published_pacific, engine, bids, round(expected_profit_usd, 2) as profit_usd, settings
from bids.runs_of_day
order by market_date, run_number;

-- 28. What did the last run of a day bid otherwise than the run before it?
select opportunity_id, what, mw_before, mw_now, price_before, price_now, round(change_profit_usd, 2) as profit_more_usd
from bids.changes_of_last_run
order by market_date, product, start_utc;

-- 29. By how much did each run of a day differ from the first one, and why?
select market_date, run_number, bids_changed, round(moved_mw, 2) as moved_mw, round(change_profit_usd, 2) as profit_more_usd, why
from bids.runs_compared
where number_before = 1
order by market_date, run_number;

-- 30. Which runs bid one opportunity, how much and at which price?
select run_number, published_pacific, status, total_capacity_mw, bid_price_usd_per_mwh, curve
from bids.run_bids join bids.runs_of_day using (market_date, run_id)
where opportunity_id = 'energy_20230815_1200_vpp-requests'
order by run_number;

-- 31. What did each settled day leave, against what its bids expected, and who was missing?
select market_date, awarded_bids, bids, energy_usd + reserve_usd as awards_usd, charging_usd, imbalance_usd, payments_usd, net_usd,
       expected_profit_usd, absent, limits_broken
from evaluation.settled_days
order by market_date;

-- 32. Which awards fell short, because members were away or their stores empty, and what did it cost?
select opportunity_id, awarded_mw, shortfall_mw, absent_members, empty_members, imbalance_usd + no_pay_usd as cost_usd
from evaluation.settlement
where shortfall_mw > 0
order by cost_usd desc;

-- 33. What does each storage resource offer from charge to discharge, hour by hour, and what of it clears at the forecast?
select resource_id, pacific, -max_charge_mw as charge_mw, self_schedule_mw as sun_mw, max_discharge_mw as discharge_mw, round(charge_price_usd_per_mwh, 2) as charge_price,
       round(discharge_price_usd_per_mwh, 2) as discharge_price, round(planned_net_mw, 3) as planned_mw, round(planned_spin_mw + planned_nonspin_mw, 3) as planned_reserve_mw
from dispatch.storage_by_hour
where market_date = (select max(market_date) from dispatch.storage_by_hour)
order by resource_id, start_utc;

-- 34. How full is each storage resource, planned and (once settled) after its awards, and in how many hours at a limit?
select market_date, resource_id, round(min(planned_stored_mwh), 3) as lowest_mwh, round(max(planned_stored_mwh), 3) as highest_mwh,
       count(*) filter (planned_stored_mwh <= lowest_stored_mwh + 1e-6) as hours_empty, count(*) filter (planned_stored_mwh >= highest_stored_mwh - 1e-6) as hours_full,
       round(max(awarded_stored_mwh), 3) as highest_awarded_mwh, round(sum(awarded_net_mw), 3) as awarded_mwh
from dispatch.storage_by_hour
group by all
order by all;

-- 35. What does each storage resource earn with reserve and without, and who is bound to it?
select resource_id, pool_id, prosumers, bound_members, max_charge_mw, maximum_mw, certified_spin_mw, is_assumed,
       round(energy_profit_usd, 2) as without_reserve_usd, round(expected_profit_usd, 2) as profit_usd
from bids.by_resource
where participation = 'storage'
order by market_date, profit_usd desc;
