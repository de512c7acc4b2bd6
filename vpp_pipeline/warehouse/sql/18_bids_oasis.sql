-- Our bids in the columns and order of OASIS' public bids (PUB_BID_DAM), after the market day; one row per hour and point of the curve.
create or replace view bids.oasis as
with hours as (
    select f.*, unnest(generate_series(f.start_utc, f.start_utc + to_hours(f.duration_hours - 1), interval 1 hour)) as hour_utc
    from bids.final_bids f
    where f.status = 'bid'
),
points as (
    select bid_id, segment as point, from_mw as mw, price_usd_per_mwh as price, 'energy' as kind from bids.bid_segments
    union all
    select bid_id, max(segment) + 1, max(to_mw), max(price_usd_per_mwh), 'energy' from bids.bid_segments group by bid_id
    union all
    select bid_id, segment, to_mw, price_usd_per_mwh, 'reserve' from bids.bid_segments
),
rows_of_bids as (
    select h.*, p.point, p.mw, p.price, null::double as self_schedule_mw
    from hours h join points p on p.bid_id = h.bid_id and (p.kind = 'energy') = (h.product = 'energy')
    union all by name
    select h.*, 0 as point, s.self_schedule_mw
    from hours h join dispatch.storage_limits s on s.market_date = h.market_date and s.resource_id = h.resource_id and s.start_utc = h.hour_utc
    where h.product = 'energy' and s.self_schedule_mw > 0
)
select h.market_date, strftime(h.hour_utc at time zone 'America/Los_Angeles', '%Y-%m-%d %H:%M:%S') as STARTTIME,
       strftime((h.hour_utc + interval 1 hour) at time zone 'America/Los_Angeles', '%Y-%m-%d %H:%M:%S') as STOPTIME,
       strftime(h.hour_utc at time zone 'UTC', '%Y-%m-%dT%H:%M:%S-00:00') as STARTTIME_GMT,
       strftime((h.hour_utc + interval 1 hour) at time zone 'UTC', '%Y-%m-%dT%H:%M:%S-00:00') as STOPTIME_GMT,
       strftime(h.market_date, '%Y-%m-%d') as STARTDATE, 'DAM' as MARKET_RUN_ID, 'GENERATOR' as RESOURCE_TYPE,
       null::integer as SCHEDULINGCOORDINATOR_SEQ, (dense_rank() over (partition by h.market_date order by h.resource_id))::integer as RESOURCEBID_SEQ,
       if(h.point = 0, STARTTIME, null) as TIMEINTERVALSTART, if(h.point = 0, STOPTIME, null) as TIMEINTERVALEND,
       if(h.point = 0, STARTTIME_GMT, null) as TIMEINTERVALSTART_GMT, if(h.point = 0, STOPTIME_GMT, null) as TIMEINTERVALEND_GMT,
       h.opportunity_id as PRODUCTBID_DESC, h.bid_id as PRODUCTBID_MRID,
       case h.product when 'energy' then 'Energy' when 'spin' then 'Spinning Reserve' else 'Non-Spinning Reserve' end as MARKETPRODUCT_DESC,
       case h.product when 'energy' then 'EN' when 'spin' then 'SR' else 'NR' end as MARKETPRODUCTTYPE,
       h.self_schedule_mw as SELFSCHEDMW, if(h.point > 0, STARTTIME, null) as SCH_BID_TIMEINTERVALSTART, if(h.point > 0, STOPTIME, null) as SCH_BID_TIMEINTERVALSTOP,
       if(h.point > 0, STARTTIME_GMT, null) as SCH_BID_TIMEINTERVALSTART_GMT, if(h.point > 0, STOPTIME_GMT, null) as SCH_BID_TIMEINTERVALSTOP_GMT,
       h.mw as SCH_BID_XAXISDATA, h.price as SCH_BID_Y1AXISDATA, null::double as SCH_BID_Y2AXISDATA,
       if(h.point > 0, 'BIDPRICE', null) as SCH_BID_CURVETYPE, null::double as MINEOHSTATEOFCHARGE, null::double as MAXEOHSTATEOFCHARGE
from rows_of_bids h
order by h.hour_utc, h.product, h.bid_id, h.mw nulls first, h.point;
comment on view bids.oasis is 'Our bids in the columns and order of OASIS'' public bids (PUB_BID_DAM), after the market day; one row per hour and point of the curve. Energy: a point''s price holds from its MW on, and the last point repeats it; a storage resource''s curve begins at its charging, in negative MW, and its self-schedule is a row of its own. Reserve: one point.';
comment on column bids.oasis.STARTTIME is 'Start of the hour, Pacific.';
comment on column bids.oasis.STOPTIME is 'End of the hour, Pacific.';
comment on column bids.oasis.STARTTIME_GMT is 'Start of the hour, UTC.';
comment on column bids.oasis.STOPTIME_GMT is 'End of the hour, UTC.';
comment on column bids.oasis.STARTDATE is 'Trade date of the bid.';
comment on column bids.oasis.MARKET_RUN_ID is 'Market: DAM, the day-ahead market.';
comment on column bids.oasis.RESOURCE_TYPE is 'Type of the resource: GENERATOR, as public bids name all that sell, storage resources (non-generator resources) too; these are known by negative MW.';
comment on column bids.oasis.SCHEDULINGCOORDINATOR_SEQ is 'Number that OASIS publishes in place of the coordinator; always null.';
comment on column bids.oasis.RESOURCEBID_SEQ is 'Number that OASIS publishes in place of the resource: from 1, in the order of `resource_id` among those with a bid.';
comment on column bids.oasis.PRODUCTBID_MRID is 'The bid, as in `bid_id`.';
comment on column bids.oasis.PRODUCTBID_DESC is 'The opportunity, as in `opportunity_id`.';
comment on column bids.oasis.MARKETPRODUCTTYPE is 'Product: EN energy, SR spinning reserve, NR non-spinning reserve.';
comment on column bids.oasis.MARKETPRODUCT_DESC is 'Name of the product.';
comment on column bids.oasis.SELFSCHEDMW is 'Self-scheduled MW: sun that a storage resource sells whatever the price. Null where all is bid at a price.';
comment on column bids.oasis.TIMEINTERVALSTART is 'Start of the self-schedule''s hour, Pacific; null in other rows.';
comment on column bids.oasis.TIMEINTERVALEND is 'End of the self-schedule''s hour, Pacific; null in other rows.';
comment on column bids.oasis.TIMEINTERVALSTART_GMT is 'Start of the self-schedule''s hour, UTC; null in other rows.';
comment on column bids.oasis.TIMEINTERVALEND_GMT is 'End of the self-schedule''s hour, UTC; null in other rows.';
comment on column bids.oasis.SCH_BID_TIMEINTERVALSTART is 'Start of the bid''s hour, Pacific; null in the row of a self-schedule.';
comment on column bids.oasis.SCH_BID_TIMEINTERVALSTOP is 'End of the bid''s hour, Pacific.';
comment on column bids.oasis.SCH_BID_TIMEINTERVALSTART_GMT is 'Start of the bid''s hour, UTC.';
comment on column bids.oasis.SCH_BID_TIMEINTERVALSTOP_GMT is 'End of the bid''s hour, UTC.';
comment on column bids.oasis.SCH_BID_XAXISDATA is 'MW of the curve''s point.';
comment on column bids.oasis.SCH_BID_Y1AXISDATA is 'Price of the curve''s point; $/MWh, for reserves $/MW per hour.';
comment on column bids.oasis.SCH_BID_Y2AXISDATA is 'Second price of the point; always null for bid prices.';
comment on column bids.oasis.SCH_BID_CURVETYPE is 'Type of the curve: BIDPRICE; null in the row of a self-schedule.';
comment on column bids.oasis.MINEOHSTATEOFCHARGE is 'Lowest state of charge at the end of the hour: a bid parameter of the real-time market; day ahead always null.';
comment on column bids.oasis.MAXEOHSTATEOFCHARGE is 'Highest state of charge at the end of the hour: a bid parameter of the real-time market; day ahead always null.';
