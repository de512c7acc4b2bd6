-- Runs that published bids of a day, in order: time, bids, expected profit, and settings.
create or replace view bids.runs_of_day as
select market_date, row_number() over day as run_number, run_number = count(*) over (partition by market_date) as is_last,
       strftime(published_utc at time zone 'America/Los_Angeles', '%Y-%m-%d %H:%M') as published_pacific, started_by, engine, bids,
       energy_mwh, spin_mw_h, nonspin_mw_h, expected_profit_usd, gap_fraction, violations, seconds, settings, price_source, node,
       prosumers, published_utc, run_id
from bids.runs
window day as (partition by market_date order by published_utc, run_id);
comment on view bids.runs_of_day is 'Runs that published bids of a day, in order: time, bids, expected profit, and settings. Runs that a check stopped are not listed.';
comment on column bids.runs_of_day.run_number is 'Number of the run among those of its day, from 1.';
comment on column bids.runs_of_day.is_last is 'Whether its bids are the current ones, in bids.final_bids.';
comment on column bids.runs_of_day.published_pacific is 'Pacific time of the publication.';
