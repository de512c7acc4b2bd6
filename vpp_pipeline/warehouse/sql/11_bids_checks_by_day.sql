-- Check results of each day in one row.
create or replace view bids.checks_by_day as
select market_date, count(*) as rules, count(*) filter (passed) as held, count(*) filter (not passed and is_warning) as warnings,
       count(*) filter (not passed and not is_warning) as broken,
       coalesce(sum(violations) filter (not is_warning), 0)::bigint as violations,
       coalesce(string_agg(check_name, ', ' order by check_name) filter (not passed), '') as not_held
from bids.checks
group by market_date;
comment on view bids.checks_by_day is 'Check results of each day in one row.';
comment on column bids.checks_by_day.rules is 'Number of checks of the day.';
comment on column bids.checks_by_day.held is 'Number of checks that passed.';
comment on column bids.checks_by_day.warnings is 'Number of checks that failed with a warning.';
comment on column bids.checks_by_day.broken is 'Number of blocking checks that failed; such bids are not published.';
comment on column bids.checks_by_day.violations is 'Number of violations of blocking checks.';
comment on column bids.checks_by_day.not_held is 'Names of the checks that failed.';
