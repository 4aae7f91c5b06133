/** The rhythm of the pipeline, in milliseconds. Sources: design section 5, and the benchmarks. */
export const timing = {
  /** From one tick to the next while jobs wait. */
  tickMs: 5_000,
  /** The next tick when all that waited has got its slot: what comes meanwhile need not wait long for its own. */
  settleTickMs: 500,
  /** Ticks go this slowly while every unfinished job has its slot or is running. */
  idleTickMs: 60_000,
  /** A tick this late has lost its message; whoever notices runs it. */
  tickOverdueMs: 5_000,
  /** How often an instance that works looks whether the tick was lost. */
  tickLookMs: 10_000,
  /** The first slot of an idle pool: time for its message to be sent, and found by a host that polls every 2 s. */
  firstSlotMs: 2_250,
  /** How long before its slot a work message becomes visible; learned per deployment within these bounds. */
  leadMs: 5_000,
  leadMinMs: 3_000,
  leadMaxMs: 45_000,
  /** The lead is raised to the lateness seen, times this, and a little. */
  leadAllowance: 1.3,
  leadMarginMs: 1_000,
  /** A lead that was enough for this long is lowered a little; one that had to be raised is left alone for longer. */
  leadQuietMs: 60_000,
  leadRaisedQuietMs: 3_600_000,
  /** How much further ahead slots are given where functions were found asleep: a look of the platform, and a start. */
  coldMs: 15_000,
  /** For how long an instance takes it that they are, after it has found one so. */
  coldKnownMs: 300_000,
  /** The rescue runs a tick that is a minute late: one that is later than this found no app at all. */
  coldLatestMs: 90_000,
  /** An instance without a job in hand for this long may have been put to sleep: who wakes it says nothing of the lead. */
  restMs: 300_000,
  /** Ticks all run by one instance for this long: there is hardly another one. */
  aloneMs: 300_000,
  /** No slot that was given before a recall is this far ahead of it. */
  recallKnownMs: 300_000,
  /** The longest that a cancellation is waited for; what is left then is cancelled by the pacer. */
  cancelWaitMs: 10_000,
  /** A worker may start at most this long after its slot; later it takes a fresh one. */
  lateMs: 50,
  /** The claim is made this long before the slot, so that neither its wait nor its own duration moves the start. */
  claimAheadMs: 450,
  /** Changes of one batch share a transaction when they meet. A claim may wait this long for others to meet, */
  claimMayWaitMs: 150,
  /** a new job this long, */
  intakeMayWaitMs: 20,
  /** and the end of a run this long: nothing hurries after the answer, and a claim takes it along. */
  endMayWaitMs: 1_000,
  /** A worker that missed its slot holds the job for a fresh one this far away at most; else the job waits again. */
  freshSlotMs: 3_000,
  /** A run whose lease is not renewed for this long has died; renewed at half. */
  leaseMs: 90_000,
  /** A slot this long past has lost its message or its worker: longer than any hold, and than messages are late. */
  slotLostMs: 60_000,
  /** How old a worker's picture of its deployment's pause and breaker may be. */
  ledgerViewMs: 1_000,
  /** How long an instance may believe, without looking, that a batch's flow stands in the budget table, awake. */
  flowKnownMs: 2_000,
  /**
   * A flow found empty is looked at for this long in case an instance still believed it awake, and then rests until
   * somebody wakes it: longer than `flowKnownMs` and the latest next tick together.
   */
  flowLookMs: 20_000,
  /** A flow that rested this long is looked at once more, and taken out when its batch is finished. */
  flowIdleMs: 60_000,
  /** Waits between attempts after a passing fault: full jitter up to base x 2^attempt, at most the ceiling. */
  retryBaseMs: 2_000,
  retryCeilingMs: 300_000,
  /** A deployment of which so many calls, and such a share of its slots, came to nothing in this time is stopped. */
  faultWindowMs: 30_000,
  faultsMin: 5,
  faultShare: 0.5,
  /** The first probe of a stopped deployment, doubled for each that fails. */
  probeFirstMs: 10_000,
  probeMaxMs: 900_000,
  /** A probe without an answer for this long may have been lost, or may be a slow call: one more is sent. */
  probeLostMs: 120_000,
  /** A synchronous call whose turn is further away than this is not waited for; the whole of one takes this long at most: */
  syncTurnMs: 200_000,
  /** Azure's front end gives up after 230 s. Source: the documentation of HTTP triggers. */
  syncTotalMs: 220_000,
  /** How often its job is looked at, how often its place in line, */
  syncPollMs: 1_000,
  syncLookMs: 15_000,
  /** and when to come again to an instance that has as many of them as it takes: one call's length. */
  syncFullMs: 20_000,
  /** How long a JSON body may take to come: 8 MiB at 1.2 Mbit/s. */
  bodyMs: 60_000,
  /** An image to edit, or a job with images in it: 33 MB at 1.3 Mbit/s, within what a synchronous call may take. */
  uploadMs: 200_000,
  /** A file: a function may run for 30 minutes. */
  fileUploadMs: 1_500_000,
  /** An upload that nobody has completed by then has expired; as OpenAI's. */
  uploadMsMax: 3_600_000,
  /** After that what it left is swept: a part, or a completion, that was begun before it is over, for a function may run for 30 minutes. */
  uploadSweepMs: 3_600_000,
  /** Of each of them something must come within this time. */
  uploadStallMs: 30_000,
  /** Events like one that was logged are counted for this long, and become one line. */
  likeEventsMs: 60_000,
  /** How long one run makes lines jobs before it hands over to the next: below what a function may run. */
  registerMs: 240_000,
  /** The longest that a request to retry jobs is waited for; the rest goes on in the background. */
  retryWaitMs: 10_000,
  /** How long images that a job brought with it are kept when it is finished: it may be asked for again meanwhile. */
  inputsKeptMs: 30 * 24 * 3_600_000,
  /** How long one run removes them: the next is an hour later, and a function may run for 30 minutes. */
  sweepMs: 240_000,
  /** A batch whose lease is not renewed for this long is taken over; renewed at half. */
  batchLeaseMs: 60_000,
  /** Whoever takes a batch begins with it himself; this long after, the queue sees to it. */
  registerLookMs: 10_000,
  /** How often the end of a batch is looked for while its last calls are under way. */
  endLookMs: 3_000,
  /** From the message that tells of an end until it is looked at: the end itself is written meanwhile. */
  hookSettleMs: 5_000,
  /** After which an event is tried whose receiver has its hands full with others: twice what one of them may take. */
  receiverBusyMs: 30_000,
  /** How often a batch that somebody follows is looked at. */
  watchMs: 1_000,
  /** A look without an answer: storage's clients give up sooner, unless it is silent, and then they wait for ever. */
  watchLookMs: 60_000,
  /** Rows of finished jobs are written with the last storage round trip, seconds after their time: each look goes back so far. */
  watchBackMs: 30_000,
  /** Results that are kept through an outage of storage, or found by a rescue, come later: */
  finishedLateMs: 300_000,
  /** (an answer found later than this after it came finishes its job when it is found, within those looks,) */
  foundLateMs: 150_000,
  /** looked for so often, and at the end. */
  watchFarMs: 30_000,
  /** Silence on an event stream; Azure's front end ends one of 230 s. */
  keepAliveMs: 15_000,
  /** An event stream's length: a function may run for 30 minutes. */
  liveStreamMs: 1_500_000,
  /** Any streamed answer's: behind the end of event streams, which end by themselves, and before the host ends the worker. */
  streamMs: 1_560_000,
  /** Who takes nothing of a streamed answer for this long has gone without a word, or holds a function for nothing. */
  streamStallMs: 60_000,
  /**
   * An HTTP request of which nothing has come or gone for this long is given up: above the longest silence that is meant,
   * `syncTotalMs`, and below the 240 s after which the host's own proxy breaks off. Without it a function that waits for
   * what never comes runs for 30 minutes, and then the host restarts the worker, under its paid calls.
   */
  quietMs: 225_000,
  /** How often all requests are looked at; what is given up may have been quiet for so much longer. */
  quietLookMs: 5_000,
  /** Storage that does not answer an instance that starts: its clients try for some 20 s where nobody listens. */
  openMs: 30_000,
  /** After which such a request may come again. */
  openRetryMs: 10_000,
  /** After which its reader comes back. */
  liveRetryMs: 2_000,
  /** What a host that is told to end gives to the calls under way. Seen on the real one, 2026-11-30. */
  terminateMs: 10_000,
  /** Width of the buckets from which rates of the last minute are summed. */
  rateBucketMs: 5_000,
  rateWindowMs: 60_000,
} as const
