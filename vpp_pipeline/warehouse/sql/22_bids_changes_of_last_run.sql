-- Changes of the bids between the last two runs of a day, by opportunity, with the causes.
create or replace view bids.changes_of_last_run as
select c.* exclude (is_last_change), r.why
from bids.changes_between_runs c join bids.runs_compared r using (market_date, run_before, run_id)
where c.is_last_change and r.is_last_change;
comment on view bids.changes_of_last_run is 'Changes of the bids between the last two runs of a day, by opportunity, with the causes. No rows where a day has one run, or both bid the same.';
comment on column bids.changes_of_last_run.number_before is 'Number of the run before the last one.';
comment on column bids.changes_of_last_run.run_number is 'Number of the last run of the day.';
comment on column bids.changes_of_last_run.run_before is 'Id of the run before the last one.';
comment on column bids.changes_of_last_run.run_id is 'Id of the last run.';
comment on column bids.changes_of_last_run.pacific is 'Pacific time at which the block starts; the repeated autumn hour shows twice.';
comment on column bids.changes_of_last_run.what is 'Kind of the change: new, gone (with the reason), more or less MW, dearer or cheaper at the same MW, or another curve at the same bid price.';
comment on column bids.changes_of_last_run.mw_before is 'MW bid by the run before.';
comment on column bids.changes_of_last_run.mw_now is 'MW bid by the last run.';
comment on column bids.changes_of_last_run.change_mw is 'Increase of the MW bid.';
comment on column bids.changes_of_last_run.price_before is 'Bid price of the run before; $/MWh, for reserves $/MW per hour.';
comment on column bids.changes_of_last_run.price_now is 'Bid price of the last run; $/MWh, for reserves $/MW per hour.';
comment on column bids.changes_of_last_run.forecast_before is 'Expected price in the run before.';
comment on column bids.changes_of_last_run.forecast_now is 'Expected price in the last run.';
comment on column bids.changes_of_last_run.change_payments_usd is 'Increase of the payments to prosumers.';
comment on column bids.changes_of_last_run.change_profit_usd is 'Increase of the expected profit.';
comment on column bids.changes_of_last_run.curve_before is 'Bid curve of the run before.';
comment on column bids.changes_of_last_run.curve_now is 'Bid curve of the last run.';
comment on column bids.changes_of_last_run.why is 'Causes of the changes in words; the same in every row.';
