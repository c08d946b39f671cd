/** The rules R1 to R9 of protocol §5, one by one.  Each function here is a test. */

import { TIMINGS } from "/client/types.js";
import { CONV, ME, PEER, Scripted, equal } from "./scripted.js";

export async function R1_sends_in_order_and_never_more_than_the_window() {
  const it = await new Scripted().ready();
  for (const text of ["a", "b", "c", "d", "e", "f"]) await it.send(text);
  equal(it.said("send").map(({ id }) => id), ["id-a", "id-b", "id-c", "id-d"]);
  await it.hear({ type: "ack", id: "id-a", conv: CONV, seq: 1, at: 5 });
  equal(it.said("send").map(({ id }) => id), ["id-e"]);
}

export async function R1_what_is_in_the_outbox_outlives_the_page() {
  const it = await new Scripted().ready();
  await it.lose();
  for (const text of ["a", "b"]) await it.send(text);
  equal(it.said(), []);
  await it.boot({});
  equal((await it.connect()).token, "t1");
  await it.welcome();
  equal(it.said("send").map(({ body }) => body.text), ["a", "b"]);
}

export async function R1_a_message_that_no_frame_can_hold_fails_and_stays() {
  const it = await new Scripted().ready();
  await it.send("x".repeat(2000), "big");
  equal(it.said("send"), []);
  equal(it.told("refused").map(({ code }) => code), ["too_large"]);
  equal((await it.store.pending("big")).code, "too_large");
}

export async function R2_resends_after_every_welcome_in_the_old_order_and_before_new_ones() {
  const it = await new Scripted().ready();
  for (const text of ["a", "b"]) await it.send(text);
  await it.lose();
  await it.send("c");
  await it.connect();
  await it.welcome();
  equal(it.said("send").map(({ id }) => id), ["id-a", "id-b", "id-c"]);
}

export async function R2_never_resends_on_a_live_session_and_hangs_up_without_an_ack() {
  const it = await new Scripted().ready();
  await it.send("a");
  it.said();
  await it.later(TIMINGS.ack - 0.1);
  equal(it.said("send"), []);
  equal(it.told("hangup"), []);
  await it.later(0.2);
  equal(it.told("hangup").length, 1);
}

export async function R2_an_answer_to_a_resend_counts_once() {
  const it = await new Scripted().ready();
  await it.send("a");
  await it.again();
  it.notices = [];
  const ack = { type: "ack", id: "id-a", conv: CONV, seq: 1, at: 5, dup: true };
  await it.hear(ack, ack);
  equal(it.told("acked").length, 1);
  equal(await it.seqs(), [1]);
  equal(await it.store.outboxAfter("", 0), []);
}

export async function R2_an_entry_too_old_to_be_resent_safely_fails() {
  const it = await new Scripted().ready();
  await it.lose();
  await it.send("a");
  it.wall += (TIMINGS.expires + 1) * 1000;
  await it.connect();
  await it.welcome();
  equal(it.said("send"), []);
  equal(it.told("refused").map(({ code }) => code), ["expired"]);
}

export async function R3_stores_in_order_ignores_repeats_and_fetches_a_hole_that_lasts() {
  const it = await new Scripted().ready();
  await it.hear(it.msg(1), it.msg(1), it.msg(3));
  equal(await it.seqs(), [1]);
  equal(it.said("fetch"), []);
  await it.later(TIMINGS.gap + 0.01);
  const [fetch] = it.said("fetch");
  equal([fetch.conv, fetch.after], [CONV, 1]);
  await it.hear(it.msgs(fetch.req, [it.item(2), it.item(3)]));
  equal(await it.seqs(), [1, 2, 3]);
  equal(it.told("deliver").map(({ row }) => row.seq), [1, 2, 3]);
}

export async function R3_a_hole_that_fills_itself_is_not_fetched() {
  const it = await new Scripted().ready();
  await it.hear(it.msg(2), it.msg(1));
  await it.later(TIMINGS.gap + 0.01);
  equal(it.said("fetch"), []);
  equal(await it.seqs(), [1, 2]);
}

export async function R3_keeps_no_more_than_200_and_fetches_what_did_not_fit() {
  const it = await new Scripted().ready();
  for (let seq = 2; seq <= 300; seq++) it.rules.frames([it.msg(seq)], it.now);
  await it.later(TIMINGS.gap + 0.01);
  const [fetch] = it.said("fetch");
  await it.hear(it.msgs(fetch.req, [it.item(1)], { more: true }));
  equal((await it.seqs()).length, 201);
  const [next] = it.said("fetch");
  equal(next.after, 201);
  const rest = Array.from({ length: 99 }, (_, i) => it.item(202 + i));
  await it.hear(it.msgs(next.req, rest));
  equal((await it.seqs()).length, 300);
}

export async function R4_fetches_page_after_page_until_it_has_what_is_known() {
  const it = await new Scripted().ready();
  await it.hear({ type: "head", conv: CONV, last: 450 });
  const after = [];
  for (let fetch; ([fetch] = it.said("fetch")) && fetch; ) {
    after.push(fetch.after);
    const size = Math.min(200, 450 - fetch.after);
    const items = Array.from({ length: size }, (_, i) => it.item(fetch.after + 1 + i));
    await it.hear(it.msgs(fetch.req, items, { more: fetch.after + size < 450 }));
  }
  equal(after, [0, 200, 400]);
  equal((await it.seqs()).length, 450);
}

export async function R4_history_that_has_expired_is_skipped() {
  const it = await new Scripted().ready();
  await it.hear(it.msg(1));
  await it.again();
  await it.heads([it.head({ last: 9, floor: 8 })], "s2");
  await it.later(TIMINGS.gap + 0.01);
  const [fetch] = it.said("fetch");
  equal(fetch.after, 7);
  await it.hear(it.msgs(fetch.req, [it.item(8), it.item(9)], { floor: 8 }));
  equal(await it.seqs(), [1, 8, 9]);
}

export async function R4_a_refused_fetch_is_tried_again_or_given_up() {
  const it = await new Scripted().ready();
  await it.hear({ type: "head", conv: CONV, last: 1 });
  const [first] = it.said("fetch");
  await it.hear({ type: "error", req: first.req, code: "unavailable" });
  equal(it.said("fetch"), []);
  await it.later(TIMINGS.retry + 0.01);
  const [second] = it.said("fetch");
  await it.hear({ type: "error", req: second.req, code: "forbidden" });
  await it.later(60);
  equal(it.said("fetch"), []);
}

export async function R4_an_unknown_conversation_is_found_by_a_sync() {
  const it = await new Scripted().ready();
  await it.hear({ ...it.msg(1), conv: 8 });
  const [sync] = it.said("sync");
  equal(sync.since, "s1");
  await it.heads([it.head({ conv: 8, last: 1 })], "s2", sync.req);
  await it.later(TIMINGS.gap + 0.01);
  equal(it.said("fetch").map(({ conv, after }) => [conv, after]), [[8, 0]]);
}

export async function R4_what_no_full_sync_knows_is_asked_for_only_once() {
  const it = await new Scripted().ready();
  await it.hear({ ...it.msg(1), conv: 8 });
  const [first] = it.said("sync");
  await it.heads([], "s2", first.req);
  const [full] = it.said("sync");
  equal(full.since, undefined);
  await it.heads([], "s3", full.req);
  await it.hear({ ...it.msg(1), conv: 8 });
  equal(it.said("sync"), []);
}

export async function R5_my_own_message_in_the_log_before_its_ack_is_its_ack() {
  const it = await new Scripted().ready();
  await it.send("a");
  await it.again();
  it.notices = [];
  await it.hear(it.msg(1, { from: ME, id: "id-a", body: { text: "a" } }));
  equal(it.notices.map(({ type }) => type).filter((t) => t !== "receipt"), ["acked"]);
  await it.hear({ type: "ack", id: "id-a", conv: CONV, seq: 1, at: 5, dup: true });
  equal(it.told("acked").length, 1);
  equal(await it.seqs(), [1]);
  equal(await it.store.outboxAfter("", 0), []);
}

export async function R5_an_acknowledged_message_above_a_hole_is_neither_lost_nor_sent_again() {
  const it = await new Scripted().ready();
  await it.send("a");
  await it.hear({ type: "ack", id: "id-a", conv: CONV, seq: 2, at: 5 });
  equal((await it.store.pending("id-a")).seq, 2);
  await it.boot({});
  await it.connect();
  await it.welcome();
  equal(it.said("send"), []);
  await it.hear(it.msg(1), it.msg(2, { from: ME, id: "id-a" }));
  equal(await it.seqs(), [1, 2]);
  equal(await it.store.outboxAfter("", 0), []);
}

export async function R5_what_another_device_of_mine_sent_is_delivered() {
  const it = await new Scripted().ready();
  await it.hear(it.msg(1, { from: ME, id: "elsewhere" }));
  equal(it.told("deliver").map(({ row }) => row.id), ["elsewhere"]);
}

export async function R6_known_and_the_token_are_written_together() {
  const it = await new Scripted().ready();
  await it.again();
  it.writes = [];
  await it.heads([it.head({ last: 5 })], "s2");
  const turn = it.writes.find((writes) => writes.some(({ account }) => account?.since === "s2"));
  equal(turn.filter(({ log }) => log?.known === 5).length, 1);
  equal(it.writes.flat().filter(({ account }) => account?.since === "s2").length, 1);
}

export async function R6_a_token_of_a_pong_counts_unless_a_sync_is_under_way() {
  const it = await new Scripted().ready();
  await it.hear({ type: "pong", n: 1, now: 1, since: "s9" });
  equal((await it.store.account()).since, "s9");
  await it.again();
  await it.hear({ type: "pong", n: 2, now: 1, since: "s10" });
  equal((await it.store.account()).since, "s9");
}

export async function R6_heads_come_in_pages_and_only_the_last_has_the_token() {
  const it = await new Scripted().ready();
  await it.again();
  const { req } = it.hello;
  it.notices = [];
  await it.hear({ type: "heads", req, items: [it.head({ conv: 8 })], done: false });
  equal(it.told("synced"), []);
  await it.hear({ type: "heads", req, items: [it.head({ conv: 9 })], done: true, next: "s2" });
  equal(it.told("synced").length, 1);
  equal([...it.rules.conversations.keys()], [CONV, 8, 9]);
}

export async function R6_a_new_epoch_compares_the_logs_and_sends_again_what_was_lost() {
  const it = await new Scripted().ready();
  await it.hear(it.msg(1));
  for (const text of ["a", "b"]) await it.send(text);
  await it.hear({ type: "ack", id: "id-a", conv: CONV, seq: 2, at: 5 });
  await it.hear({ type: "ack", id: "id-b", conv: CONV, seq: 3, at: 5 });
  await it.again({ epoch: "e2" });
  const [sync] = it.said().filter(({ type }) => type !== "mark");
  equal([sync.type, sync.since], ["sync", undefined]);
  await it.heads([it.head({ last: 2 })], "f1", sync.req);
  const [fetch] = it.said("fetch");
  equal(fetch.before, 3);
  it.notices = [];
  await it.hear(it.msgs(fetch.req, [it.item(1), it.item(2, { id: "other" })]));
  equal(it.notices.find(({ type }) => type === "withdrawn").above, 1);
  equal(it.notices.filter(({ type }) => type === "synced").length, 1);
  const said = it.said();
  equal(said.filter(({ type }) => type === "send").map(({ id }) => id), ["id-a", "id-b"]);
  const again = said.find(({ type }) => type === "fetch");
  equal(again.after, 1);
  await it.hear(it.msgs(again.req, [it.item(2, { id: "other" })]));
  equal((await it.store.rowsAbove(CONV, 0)).map(({ id }) => id), ["p1", "other"]);
  const { epoch, since } = await it.store.account();
  equal([epoch, since], ["e2", "f1"]);
}

export async function R6_a_comparison_that_is_cut_off_begins_again() {
  const it = await new Scripted().ready();
  await it.hear(it.msg(1));
  await it.again({ epoch: "e2" });
  const [sync] = it.said("sync");
  await it.heads([it.head({ last: 1 })], "f1", sync.req);
  await it.again({ epoch: "e2" });
  const [next] = it.said("sync");
  equal(next.since, undefined);
  await it.heads([it.head({ last: 1 })], "f1", next.req);
  const [fetch] = it.said("fetch");
  await it.hear(it.msgs(fetch.req, [it.item(1)]));
  equal((await it.store.account()).epoch, "e2");
  equal(await it.seqs(), [1]);
}

export async function R7_marks_what_is_stored_within_200_ms_several_at_once() {
  const it = await new Scripted().ready();
  await it.hear(it.msg(1));
  await it.hear(it.msg(2));
  equal(it.said("mark"), []);
  await it.later(TIMINGS.mark);
  equal(it.said("mark"), [{ type: "mark", conv: CONV, delivered: 2 }]);
  it.rules.displayed(CONV, 2, it.now);
  await it.turn();
  await it.later(TIMINGS.mark);
  equal(it.said("mark"), [{ type: "mark", conv: CONV, delivered: 2, read: 2 }]);
}

export async function R7_reads_no_further_than_it_has() {
  const it = await new Scripted().ready();
  await it.hear(it.msg(1));
  it.rules.displayed(CONV, 99, it.now);
  await it.turn();
  await it.later(TIMINGS.mark);
  equal(it.said("mark"), [{ type: "mark", conv: CONV, delivered: 1, read: 1 }]);
}

export async function R7_marks_again_if_the_heads_show_that_it_was_lost() {
  const it = await new Scripted().ready();
  await it.hear(it.msg(1));
  await it.later(TIMINGS.mark);
  it.said();
  await it.again();
  await it.heads([it.head({ last: 1 })], "s2");
  await it.later(TIMINGS.mark);
  equal(it.said("mark"), [{ type: "mark", conv: CONV, delivered: 1 }]);
}

export async function R7_another_device_that_read_clears_the_count_here() {
  const it = await new Scripted().ready();
  await it.hear(it.msg(1));
  await it.hear({ type: "receipt", conv: CONV, user: ME, delivered: 1, read: 1 });
  equal(it.rules.conversations.get(CONV).read, 1);
  await it.later(TIMINGS.mark);
  equal(it.said("mark"), []);
}

export async function R8_begins_at_my_delivered_cursor_and_stores_older_history_in_front() {
  const it = await new Scripted().ready({ last: 12, delivered: 10 });
  await it.later(TIMINGS.gap + 0.01);
  const [fetch] = it.said("fetch");
  equal(fetch.after, 10);
  await it.hear(it.msgs(fetch.req, [it.item(11), it.item(12)]));
  const [look] = it.said("fetch");
  equal(look.before, 11);
  it.notices = [];
  const items = [6, 7, 8, 9, 10].map((seq) => it.item(seq));
  await it.hear(it.msgs(look.req, items, { more: true }));
  equal(await it.seqs(), [6, 7, 8, 9, 10, 11, 12]);
  equal(it.told("deliver"), []);
  const req = it.rules.history(CONV, 6, 50, it.now);
  await it.turn();
  await it.hear(it.msgs(req, [it.item(5)], { more: true }));
  equal((await it.seqs())[0], 5);
  equal(it.rules.conversations.get(CONV).base, 4);
}

export async function R8_history_that_does_not_end_where_ours_begins_is_not_stored() {
  const it = await new Scripted().ready({ last: 12, delivered: 12 });
  it.said();
  const req = it.rules.history(CONV, 5, 50, it.now);
  await it.turn();
  await it.hear(it.msgs(req, [it.item(3), it.item(4)]));
  equal(await it.seqs(), []);
}

export async function R9_waits_longer_and_longer_with_full_jitter() {
  const it = await new Scripted().boot();
  const delays = [];
  for (let n = 0; n < 12; n++) {
    it.rules.disconnected(null, "", 0.5);
    await it.turn();
    delays.push(it.told("reconnect")[0].after);
  }
  equal(delays.slice(0, 3), [0.5, 0.85, 0.5 * 1.7 ** 2]);
  equal(delays.at(-1), 30);
}

export async function R9_a_session_that_was_useful_makes_delays_begin_anew() {
  const it = await new Scripted().boot();
  for (let n = 0; n < 5; n++) await it.lose();
  await it.connect();
  await it.welcome();
  await it.heads();
  it.notices = [];
  await it.lose(4001);
  equal(it.told("reconnect").map(({ after }) => after), [0.5]);
}

export async function R9_4500_to_4999_do_not_reconnect_but_4000_to_4499_and_the_rest_do() {
  for (const [code, type] of [
    [1000, "reconnect"],
    [1011, "reconnect"],
    [4000, "reconnect"],
    [4006, "reconnect"],
    [4499, "reconnect"],
    [4500, "stop"],
    [4502, "stop"],
    [4999, "stop"],
  ]) {
    const it = await new Scripted().ready();
    await it.lose(code);
    equal(it.told(type).length, 1, String(code));
  }
}

export async function R9_bye_says_when_to_come_back_but_does_not_overrule_4500() {
  const it = await new Scripted().ready();
  await it.hear({ type: "bye", code: 4000, retry: 7000 });
  await it.lose(4000);
  equal(it.told("reconnect").map(({ after }) => after), [7]);
  await it.connect();
  await it.hear({ type: "bye", code: 4505, retry: 7000 });
  await it.lose(4505);
  equal(it.told("stop").length, 1);
}

export async function R9_after_4006_it_stays_away_for_half_a_minute() {
  const it = await new Scripted().ready();
  await it.lose(4006);
  equal(it.told("reconnect")[0].after >= 30, true);
}

export async function R9_4007_drops_the_token() {
  const it = await new Scripted().ready();
  await it.lose(4007);
  equal((await it.connect()).since, undefined);
}

export async function a_registration_whose_answer_was_lost_logs_in() {
  const it = await new Scripted().boot({ user: "me", password: "word", register: true });
  equal((await it.connect()).register, true);
  await it.lose();
  const { req } = await it.connect();
  await it.hear({ type: "error", req, code: "exists" });
  await it.lose(4501);
  equal((await it.connect()).register, undefined);
}

export async function a_first_registration_of_a_taken_name_is_refused() {
  const it = await new Scripted().boot({ user: "me", password: "word", register: true });
  const { req } = await it.connect();
  await it.hear({ type: "error", req, code: "exists" });
  it.notices = [];
  await it.lose(4501);
  equal(it.told("stop").map(({ code }) => code), ["exists"]);
}

export async function another_user_than_the_stored_one_is_logged_out_again() {
  const it = await new Scripted().ready();
  await it.lose();
  await it.connect();
  it.notices = [];
  await it.welcome({ user: { id: 5, name: "other" } });
  equal(it.said("call").map(({ method }) => method), ["account.logout"]);
  equal(it.told("stop").map(({ code }) => code), ["conflict"]);
  equal((await it.store.account()).user, ME);
}

export async function a_heartbeat_goes_out_in_silence_and_wants_an_answer() {
  const it = await new Scripted().ready();
  await it.later(30);
  equal(it.said("ping").length, 1);
  await it.hear({ type: "pong", n: 1, now: 1 });
  await it.later(TIMINGS.answer + 1);
  equal(it.told("hangup"), []);
  await it.later(30);
  equal(it.said("ping").length, 1);
  await it.later(TIMINGS.answer);
  equal(it.told("hangup").length, 1);
}

export async function a_doubtful_connection_is_tried_and_dropped_soon() {
  const it = await new Scripted().ready();
  it.rules.check(it.now);
  await it.turn();
  equal(it.said("ping").length, 1);
  await it.later(TIMINGS.check);
  equal(it.told("hangup").length, 1);
}

export async function receipts_only_grow_and_those_of_strangers_cause_a_sync() {
  const it = await new Scripted().ready();
  const receipt = (user, delivered, read) => ({ type: "receipt", conv: CONV, user, delivered, read });
  await it.hear(receipt(PEER, 5, 3), receipt(PEER, 4, 4));
  equal(it.told("receipt").map(({ delivered, read }) => [delivered, read]), [[5, 3], [5, 4]]);
  await it.hear(receipt(77, 1, 1));
  equal(it.said("sync").length, 1);
}

export async function frames_of_a_server_that_talks_nonsense_do_no_harm() {
  const it = await new Scripted().ready();
  await it.hear({ type: "head", conv: CONV, last: 5 });
  const [fetch] = it.said("fetch");
  await it.hear({ type: "result", req: 12345, data: {} });
  await it.hear({ type: "ack", id: "never sent", conv: CONV, seq: 3, at: 1 });
  await it.hear({ type: "nack", id: "never sent", code: "forbidden" });
  await it.hear({ type: "result", req: fetch.req, data: {} });
  equal(it.told("hangup").length, 1);
}

export async function before_the_welcome_nothing_else_counts() {
  const it = await new Scripted().ready();
  await it.lose();
  await it.connect();
  await it.hear(it.msg(1));
  equal(await it.seqs(), []);
}

export async function time_that_jumps_does_not_harm() {
  const it = await new Scripted().ready();
  it.wall -= 3_600_000;
  await it.send("a");
  it.wall += 7_200_000;
  await it.again();
  equal(it.said("send").length, 1);
}
