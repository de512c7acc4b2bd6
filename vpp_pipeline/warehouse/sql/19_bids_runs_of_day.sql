-- The runs that published bids of a day, in order: when, what they bid, what it should earn, and with which settings.
create or replace view bids.runs_of_day as
select market_date, row_number() over day as run_number, run_number = count(*) over (partition by market_date) as is_last,
       strftime(published_utc at time zone 'America/Los_Angeles', '%Y-%m-%d %H:%M') as published_pacific, started_by, engine, bids,
       energy_mwh, spin_mw_h, nonspin_mw_h, expected_profit_usd, gap_fraction, violations, seconds, settings, price_source, node,
       prosumers, published_utc, run_id
from bids.runs
window day as (partition by market_date order by published_utc, run_id);
comment on view bids.runs_of_day is 'The runs that published bids of a day, in order: when, what they bid, what it should earn, and with which settings. What a run stopped by a check would have bid is not here.';
comment on column bids.runs_of_day.run_number is 'Place of the run among those of its day, from 1.';
comment on column bids.runs_of_day.is_last is 'Whether its bids are those that stand: the ones in bids.final_bids.';
comment on column bids.runs_of_day.published_pacific is 'Pacific time of the publication.';
