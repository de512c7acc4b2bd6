-- What the last run of a day bids otherwise than the run before it, opportunity by opportunity, and why.
create or replace view bids.changes_of_last_run as
select c.* exclude (is_last_change), r.why
from bids.changes_between_runs c join bids.runs_compared r using (market_date, run_before, run_id)
where c.is_last_change and r.is_last_change;
comment on view bids.changes_of_last_run is 'What the last run of a day bids otherwise than the run before it, opportunity by opportunity, and why. Empty where a day has one run, or both bid the same.';
comment on column bids.changes_of_last_run.number_before is 'Number of the run before the last one.';
comment on column bids.changes_of_last_run.run_number is 'Number of the last run of the day.';
comment on column bids.changes_of_last_run.run_before is 'The run before the last one.';
comment on column bids.changes_of_last_run.run_id is 'The last run.';
comment on column bids.changes_of_last_run.pacific is 'Pacific time at which the block begins; the repeated autumn hour shows twice.';
comment on column bids.changes_of_last_run.what is 'New, gone (and why), more or less MW, dearer or cheaper at the same MW, or another curve below the same price.';
comment on column bids.changes_of_last_run.mw_before is 'MW bid before.';
comment on column bids.changes_of_last_run.mw_now is 'MW bid now.';
comment on column bids.changes_of_last_run.change_mw is 'MW more.';
comment on column bids.changes_of_last_run.price_before is 'Bid price before; $/MWh, for reserves $/MW per hour.';
comment on column bids.changes_of_last_run.price_now is 'Bid price now.';
comment on column bids.changes_of_last_run.forecast_before is 'Expected price before.';
comment on column bids.changes_of_last_run.forecast_now is 'Expected price now.';
comment on column bids.changes_of_last_run.change_payments_usd is 'Payments to prosumers more.';
comment on column bids.changes_of_last_run.change_profit_usd is 'Expected profit more.';
comment on column bids.changes_of_last_run.curve_before is 'Price curve before.';
comment on column bids.changes_of_last_run.curve_now is 'Price curve now.';
comment on column bids.changes_of_last_run.why is 'What was not the same in the two runs, in words; the same in every row.';
