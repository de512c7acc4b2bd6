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
where opportunity_id = 'energy_20230815_1200' and prosumer_id = 'prosumer_020'
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
