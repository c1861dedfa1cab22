"""Tasks: which there are, and everything about one."""

from collections import Counter
from datetime import timedelta

from seedgate.domain.errors import InvalidRequest, NotFound
from seedgate.domain.receipt import Line
from seedgate.domain.task import TaskState, TaskView
from seedgate.domain.waiting import why
from seedgate.store.details import COUNTED, Details, Image, read_details, read_queue
from seedgate.store.tasks import page_tasks
from seedgate.tasks.cancel import cancel_for_account
from seedgate.web.own import wire
from seedgate.web.own.door import Asked, House, cursor

_STATES = {state.name.lower(): state for state in TaskState}


async def list_tasks(house: House, asked: Asked) -> wire.TaskPage:
    """A page of the account's tasks."""
    most, before = asked.page()
    states = _states(asked.query.get("state"))
    views, last = await page_tasks(
        house.database, account_id=asked.caller.account_id, before=before, states=states, most=most
    )
    return wire.TaskPage(
        tasks=[_line(house, view) for view in views], next_cursor=None if last is None else cursor(last)
    )


async def show_task(house: House, asked: Asked) -> wire.Task:
    """One task. NotFound alike for an unknown one and for another account's."""
    found = await read_details(house.database, asked.uuid(), account_id=asked.caller.account_id)
    if found is None:
        raise NotFound
    task, receipt = found.task, _receipt(found)
    asked.charged(None if receipt.charged is None else receipt.charged.micros)
    dialect, _, name = task.listing_id.partition("/")
    return wire.Task(
        id=task.id.hex,
        state=task.state.name.lower(),
        mode=task.mode,
        dialect=dialect,
        listing=name,
        listing_version=task.listing_version,
        model=house.model_of.get((task.listing_id, task.listing_version)),
        pictures=task.pictures,
        reason=task.reason,
        message=task.message,
        created_at=task.created_at,
        started_at=task.started_at,
        completed_at=task.completed_at,
        results=[_result(house, found, image) for image in found.images],
        receipt=receipt,
        changes=[
            wire.ChangeLine(field=c.field, kind=c.kind, given=c.given, used=c.used, why=c.why) for c in found.changes
        ],
        attempts=[
            wire.AttemptLine(
                slot=attempt.slot,
                attempt=attempt.epoch,
                lane=attempt.lane,
                state=attempt.state,
                reason=attempt.reason,
                started_at=attempt.started_at,
                accepted_at=attempt.accepted_at,
                ended_at=attempt.ended_at,
            )
            for attempt in found.attempts
        ],
        waiting=None if task.state.terminal else await _waiting(house, asked, found),
    )


async def cancel_task(house: House, asked: Asked) -> wire.Task:
    """Ask for a task's cancellation; the task as it is afterwards. Asking again changes nothing."""
    await cancel_for_account(house.database, asked.uuid(), asked.caller)
    return await show_task(house, asked)


def _states(text: str | None) -> list[TaskState]:
    names = [] if text is None else text.split(",")
    if any(name not in _STATES for name in names):
        raise InvalidRequest(f"state is one or more of {', '.join(_STATES)}, with commas between", param="state")
    return [_STATES[name] for name in names]


def _line(house: House, view: TaskView) -> wire.TaskLine:
    dialect, _, name = view.listing_id.partition("/")
    return wire.TaskLine(
        id=view.id.hex,
        state=view.state.name.lower(),
        dialect=dialect,
        listing=name,
        model=house.model_of.get((view.listing_id, view.listing_version)),
        pictures=view.pictures,
        delivered=len(view.files),
        held=wire.Money.of(view.held_micros),
        charged=_money(view.charged_micros),
        reason=view.reason,
        message=view.message,
        created_at=view.created_at,
        completed_at=view.completed_at,
    )


def _result(house: House, found: Details, image: Image) -> wire.Result:
    ended = found.task.completed_at
    return wire.Result(
        picture=image.ordinal,
        url=house.file_url(image.name),
        format=image.format,
        width=image.width,
        height=image.height,
        size_bytes=image.size_bytes,
        stored_at=image.at,
        expires_at=None if ended is None else ended + timedelta(days=house.result_days),
        removed_at=image.deleted_at,
    )


def _receipt(found: Details) -> wire.Receipt:
    made = found.receipt()
    lanes = {(attempt.slot, attempt.epoch): attempt.lane for attempt in found.attempts}
    return wire.Receipt(
        unit_price=wire.Money.of(made.unit_price_micros),
        held=wire.Money.of(made.held_micros),
        charged=_money(made.charged_micros),
        released=_money(made.released_micros),
        pictures=[_receipt_line(line, lanes) for line in made.lines],
    )


def _receipt_line(line: Line, lanes: dict[tuple[int, int], str]) -> wire.ReceiptLine:
    return wire.ReceiptLine(
        picture=line.picture,
        charged=_money(line.charged_micros),
        released=_money(line.released_micros),
        delivered_by=None if line.epoch is None else lanes.get((line.slot, line.epoch)),
        slot=line.slot,
        attempt=line.epoch,
        reason=line.reason,
        message=line.message,
    )


async def _waiting(house: House, asked: Asked, found: Details) -> wire.Waiting | None:
    reason = why([(slot.state, slot.not_before is not None) for slot in found.slots], unprepared=found.unprepared)
    if reason is None:
        return None
    lane = found.slots[0].lane
    queue = await read_queue(house.database, lane=lane, account_id=asked.caller.account_id, task_id=found.task.id)
    return wire.Waiting(
        why=reason,
        lane=lane,
        slots=dict(Counter(slot.state.name.lower() for slot in found.slots)),
        waiting_in_lane=queue.waiting,
        tasks_ahead=queue.ahead,
        ahead_in_account=queue.ahead_of_account,
        counted_up_to=COUNTED,
        oldest_waiting_s=queue.oldest_waiting_s,
        deadline_at=found.task.deadline_at,
    )


def _money(micros: int | None) -> wire.Money | None:
    return None if micros is None else wire.Money.of(micros)
