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
)
select h.market_date, strftime(h.hour_utc at time zone 'America/Los_Angeles', '%Y-%m-%d %H:%M:%S') as STARTTIME,
       strftime((h.hour_utc + interval 1 hour) at time zone 'America/Los_Angeles', '%Y-%m-%d %H:%M:%S') as STOPTIME,
       strftime(h.hour_utc at time zone 'UTC', '%Y-%m-%dT%H:%M:%S-00:00') as STARTTIME_GMT,
       strftime((h.hour_utc + interval 1 hour) at time zone 'UTC', '%Y-%m-%dT%H:%M:%S-00:00') as STOPTIME_GMT,
       strftime(h.market_date, '%Y-%m-%d') as STARTDATE, 'DAM' as MARKET_RUN_ID, 'GENERATOR' as RESOURCE_TYPE,
       null::integer as SCHEDULINGCOORDINATOR_SEQ, (dense_rank() over (partition by h.market_date order by h.resource_id))::integer as RESOURCEBID_SEQ, null::varchar as TIMEINTERVALSTART, null::varchar as TIMEINTERVALEND,
       null::varchar as TIMEINTERVALSTART_GMT, null::varchar as TIMEINTERVALEND_GMT,
       h.opportunity_id as PRODUCTBID_DESC, h.bid_id as PRODUCTBID_MRID,
       case h.product when 'energy' then 'Energy' when 'spin' then 'Spinning Reserve' else 'Non-Spinning Reserve' end as MARKETPRODUCT_DESC,
       case h.product when 'energy' then 'EN' when 'spin' then 'SR' else 'NR' end as MARKETPRODUCTTYPE,
       null::double as SELFSCHEDMW, STARTTIME as SCH_BID_TIMEINTERVALSTART, STOPTIME as SCH_BID_TIMEINTERVALSTOP,
       STARTTIME_GMT as SCH_BID_TIMEINTERVALSTART_GMT, STOPTIME_GMT as SCH_BID_TIMEINTERVALSTOP_GMT,
       p.mw as SCH_BID_XAXISDATA, p.price as SCH_BID_Y1AXISDATA, null::double as SCH_BID_Y2AXISDATA, 'BIDPRICE' as SCH_BID_CURVETYPE,
       null::double as MINEOHSTATEOFCHARGE, null::double as MAXEOHSTATEOFCHARGE
from hours h join points p on p.bid_id = h.bid_id and (p.kind = 'energy') = (h.product = 'energy')
order by h.hour_utc, h.product, h.bid_id, p.mw, p.point;
comment on view bids.oasis is 'Our bids in the columns and order of OASIS'' public bids (PUB_BID_DAM), after the market day; one row per hour and point of the curve. Energy: a point''s price holds from its MW on, and the last point repeats it. Reserve: one point.';
comment on column bids.oasis.STARTTIME is 'Start of the hour, Pacific.';
comment on column bids.oasis.STOPTIME is 'End of the hour, Pacific.';
comment on column bids.oasis.STARTTIME_GMT is 'Start of the hour, UTC.';
comment on column bids.oasis.STOPTIME_GMT is 'End of the hour, UTC.';
comment on column bids.oasis.STARTDATE is 'Trade date of the bid.';
comment on column bids.oasis.MARKET_RUN_ID is 'Market: DAM, the day-ahead market.';
comment on column bids.oasis.RESOURCE_TYPE is 'Type of the resource: GENERATOR, as the aggregation sells.';
comment on column bids.oasis.SCHEDULINGCOORDINATOR_SEQ is 'Number that OASIS publishes in place of the coordinator; always null.';
comment on column bids.oasis.RESOURCEBID_SEQ is 'Number that OASIS publishes in place of the resource: from 1, in the order of `resource_id` among those with a bid.';
comment on column bids.oasis.PRODUCTBID_MRID is 'The bid, as in `bid_id`.';
comment on column bids.oasis.PRODUCTBID_DESC is 'The opportunity, as in `opportunity_id`.';
comment on column bids.oasis.MARKETPRODUCTTYPE is 'Product: EN energy, SR spinning reserve, NR non-spinning reserve.';
comment on column bids.oasis.MARKETPRODUCT_DESC is 'Name of the product.';
comment on column bids.oasis.SELFSCHEDMW is 'Self-scheduled MW; always null, as all is bid at a price.';
comment on column bids.oasis.TIMEINTERVALSTART is 'Start of a self-schedule; always null.';
comment on column bids.oasis.TIMEINTERVALEND is 'End of a self-schedule; always null.';
comment on column bids.oasis.TIMEINTERVALSTART_GMT is 'Start of a self-schedule; always null.';
comment on column bids.oasis.TIMEINTERVALEND_GMT is 'End of a self-schedule; always null.';
comment on column bids.oasis.SCH_BID_TIMEINTERVALSTART is 'Start of the bid''s hour, Pacific.';
comment on column bids.oasis.SCH_BID_TIMEINTERVALSTOP is 'End of the bid''s hour, Pacific.';
comment on column bids.oasis.SCH_BID_TIMEINTERVALSTART_GMT is 'Start of the bid''s hour, UTC.';
comment on column bids.oasis.SCH_BID_TIMEINTERVALSTOP_GMT is 'End of the bid''s hour, UTC.';
comment on column bids.oasis.SCH_BID_XAXISDATA is 'MW of the curve''s point.';
comment on column bids.oasis.SCH_BID_Y1AXISDATA is 'Price of the curve''s point; $/MWh, for reserves $/MW per hour.';
comment on column bids.oasis.SCH_BID_Y2AXISDATA is 'Second price of the point; always null for bid prices.';
comment on column bids.oasis.SCH_BID_CURVETYPE is 'Type of the curve: BIDPRICE.';
comment on column bids.oasis.MINEOHSTATEOFCHARGE is 'Lowest state of charge at the end of the hour of storage resources; always null.';
comment on column bids.oasis.MAXEOHSTATEOFCHARGE is 'Highest state of charge at the end of the hour of storage resources; always null.';
