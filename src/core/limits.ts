/**
 * Every bound of the product, in one place, each with its reason.
 * Times are milliseconds, sizes bytes or characters (UTF-16 units), as the name says.
 */
export const limits = {
  /** The API's own limit for gpt-image models; also what one table property holds (64 KiB of UTF-16). */
  promptCharsMax: 32_000,
  /** OpenAI's Batch API takes longer ones, but a key has to stay readable in a portal. */
  customIdCharsMax: 128,
  /** Longer keys are hashed: a table key holds 512 characters, and the index rows put a time before it. */
  plainKeyCharsMax: 64,
  batchNameCharsMax: 64,
  userCharsMax: 256,
  idempotencyKeyCharsMax: 256,
  /** OpenAI's limits on metadata. */
  metadataPairsMax: 16,
  metadataKeyCharsMax: 64,
  metadataValueCharsMax: 512,
  /** A prompt in four-byte characters, every other field at its longest, and the JSON around them. */
  requestBodyBytesMax: 256 * 1024,
  /** A job that brings its images with it: one of 20 MB and a mask of 4 MB in base64. What is larger is sent as a file. */
  jobBodyBytesMax: 33 * 1024 * 1024,
  /** Images that an edit starts from; OpenAI's limit. Azure's is not documented. */
  inputImagesMax: 16,
  /** Each of them. Source: Azure's documentation of edits; its specification says half as much. */
  inputImageBytesMax: 50 * 1024 * 1024,
  /** A mask is smaller than this. Source: Azure's documentation. */
  maskBytesMax: 4 * 1024 * 1024,
  /** All inputs of one job, which are held in memory twice while they are sent. */
  inputsOfJobBytesMax: 200 * 1024 * 1024,
  /** Inputs of all jobs in hand on one instance; beyond it jobs wait again, before memory ends under calls that are paid. */
  inputsInHandBytesMax: 400 * 1024 * 1024,
  /** Requests with images in them on one instance while they come: one of the largest, or many smaller ones. */
  uploadsInHandBytesMax: 200 * 1024 * 1024,
  /** What is read of an image at intake: its size stands behind all that a camera writes before it. */
  inputHeadBytesMax: 256 * 1024,
  /** The name of a blob, half of what storage allows. */
  inputNameCharsMax: 512,
  /** All references of one job: a table property holds 32K characters. */
  inputRefsCharsMax: 30_000,
  /** Inputs whose facts are remembered while many jobs are checked: most batches share their masks. */
  inputsSeenMax: 1_000,
  /** Until an image from outside has come, in milliseconds: less than a lead, so that the job can still be in time. */
  inputFetchMsMax: 15_000,
  /** Redirects that an image from outside may take, all within the allowed hosts. */
  inputRedirectsMax: 3,
  /** A batch to be estimated: 10,000 lines of some 800 characters. */
  estimateBodyBytesMax: 8 * 1024 * 1024,
  estimateLinesMax: 10_000,
  /** A job's id: a batch's name, a dot, and a key. */
  pathParameterCharsMax: 265,
  /** A blob's name holds 1,024 characters, and a job's key up to 200 of them. */
  outputPrefixCharsMax: 256,
  webhookUrlCharsMax: 2_048,
  /** Azure's limit on a batch file. */
  batchLinesMax: 100_000,
  /** The same in a line: an image as a data URL, of which OpenAI allows each 20 MB, and its mask. */
  batchLineBytesMax: 33 * 1024 * 1024,
  /** A message of a storage queue, which may be base64: 64 KiB. */
  queueTextCharsMax: 64 * 1024,
  /** Faults of a batch file that are told; there may be as many as lines. */
  faultsKeptMax: 1_000,
  /** Jobs of a batch file that are on their way into the job table at once: a few transactions. */
  registeringAtOnce: 98,
  /** A page of jobs or batches: each batch of a list takes six reads. */
  jobsPerPageMax: 1_000,
  batchesPerPageMax: 100,
  /** Failed jobs that are let wait again together. */
  retriesAtOnce: 196,
  /** A line of results for each of 100,000 jobs with ten images. */
  resultFileBytesMax: 1024 * 1024 * 1024,
  /** Records read at a time where all of a batch are gone through: they are small without their prompts. */
  recordsAtOnce: 1_000,
  /** Reads of records that an index has named, at a time. */
  readsAtOnce: 32,
  /** What of an unreadable message is kept with its failed job, so that its sender can find it. */
  rejectedInputCharsMax: 1_000,
  /** A value quoted in an error message. */
  quotedValueCharsMax: 80,
  /** A failure message that is stored with a job; the model's own texts are longer at times. */
  failureMessageCharsMax: 1_000,
  /** Why a batch was paused, resumed or cancelled. */
  reasonCharsMax: 500,
  /** An address that somebody gives us to ask; what browsers and proxies pass on. */
  addressCharsMax: 2_048,
  /** Tries of a batch's webhook that its owner is shown. */
  deliveriesShown: 5,
  /** Tries to note one where many events of a batch are delivered at once; it is only shown. */
  deliveryNoteTriesMax: 5,
  /** Rows of finished jobs that are read at once for those who follow a batch. */
  finishedRowsAtOnce: 500,
  /** Finished jobs that are kept for those who follow a batch: near a minute of 6,000 RPM. Who is slower comes again. */
  liveLogMax: 5_000,
  /** Events of one piece of a stream: some 100 KB. */
  liveEventsAtOnce: 500,
  /** Event streams that one instance has open: each is a connection, and a function that runs. */
  liveStreamsMax: 1_000,
  /** Looks at a followed batch that may fail, one after the other, before its followers are sent away. */
  watchFaultsMax: 5,
  /** For a receiver of a webhook to answer, in milliseconds. Source: the Standard Webhooks specification, 15 to 30 s. */
  webhookMsMax: 15_000,
  /** Events that one receiver has in hand from one instance: a sixth of the messages that the host lets it work on. */
  deliveriesAtOnce: 16,
  /** Of what it answers only the status counts. */
  webhookAnswerBytesMax: 16 * 1024,
  /** Until an address outside is connected, in milliseconds. */
  connectMsMax: 10_000,
  /** The model's request ids kept with a job: attempts are bounded, but snoozes are not. */
  requestIdsMax: 20,

  /** Batches of a pool whose counts are read for its report each minute: five reads each. */
  reportedBatchesMax: 20,
  /** Events like one another that become one line of the log; and kinds of them that are counted at a time. */
  likeEventsMax: 100,
  likeKindsMax: 1_000,

  /** API keys in the settings: each request is compared with all of them. */
  apiKeysMax: 200,
  /** A request's address: a page's cursor and a custom id in four-byte characters, three times over. */
  urlCharsMax: 8 * 1024,
  /** A request's headers: twice what the host takes, so that it is the host who refuses. Source: Kestrel's 32 KiB. */
  headerBytesMax: 64 * 1024,
  /** One part of a path: the id of a job has up to 265 characters. */
  pathPartCharsMax: 512,
  /** JSON deeper than this is none of ours, and would exhaust the stack of who walks through it. */
  jsonDepthMax: 32,
  /** Quotes, brackets and commas: three times those of a prompt that is nothing else, and read within milliseconds. */
  jsonPartsMax: 100_000,
  /** What is still read of a body that is too long, so that its sender is there when the answer comes. */
  drainedBytesMax: 4 * 1024 * 1024,

  /** A table transaction holds 100 entities; a change of a job takes three, the counters one. */
  transactionEntitiesMax: 100,
  /** Rows of counters a batch may have; instances settle on different ones. A poll reads them all. */
  countShards: 4,
  /** Tries of one compare-and-set before the store counts as broken. With 16 contenders a tenth try is rare. */
  commitTriesMax: 40,
  /** Rows asked for when a job's place in line is counted; beyond it the estimate is coarser. */
  placeInLineMax: 1_000,
  /** Jobs the pacer places in one tick: 6,000 RPM over the longest horizon. */
  slotsPerTickMax: 6_000,
  /** Deployments in the settings; more would be a mistake, or a list for another tool. */
  deploymentsMax: 50,
  /** What host.json lets one instance have in hand (batchSize + newBatchThreshold). */
  jobsAtOnce: 96,
  /** Jobs of a pool that are held earlier than the lead asks, lest nobody listens: an eighth of what one instance has in hand. */
  jobsHeldEarlyMax: 12,
  /** Waiting lines a tick looks at: most of many flows are empty. */
  linesPerTickMax: 200,
  /** Batches at their cap that a tick looks at: each costs five reads. */
  capsPerTickMax: 10,
  /** Recalls within minutes that a ledger remembers: owners cancel, and set caps, by hand. */
  recallsMax: 20,
  /** What a stopped deployment says in its ledger's row, which holds up to 50 of them; the job keeps it all. */
  breakerMessageCharsMax: 200,
  /** Rows cancelled at a time. */
  cancelRowsMax: 1_000,
  /** Those of one batch that a tick cancels: a few seconds' work. */
  sweepRowsMax: 3_000,
  /** Cancelled batches in which a tick cancels what came to wait since. */
  sweepsPerTickMax: 10,
  /** Ledgers and changed flows share one transaction with the tick row. */
  flowsPerTickMax: 80,
  /** Batches whose deadlines one rescue looks at, and rows it brings back in each, before the next minute's run. */
  rescueBatchesMax: 1_000,
  rescueRowsMax: 200,
  /** Rows of a pool (deployments, flows) read at once. */
  poolRowsMax: 5_000,

  /**
   * What the functions host takes as a request's body (FUNCTIONS_REQUEST_BODY_SIZE_LIMIT). It reads a body whole, some
   * seven times its size in memory, before any key is looked at: so a file's worth of 64 MB and the form around it.
   */
  hostBodyBytesMax: 72 * 1024 * 1024,
  /** Files of one request together; OpenAI's clients send parts of uploads of this size unasked. */
  requestFilesBytesMax: 64 * 1024 * 1024,

  /** OpenAI's limits on files: a batch's lines, and an image to edit. What passes `requestFilesBytesMax` comes in parts. */
  batchFileBytesMax: 200 * 1024 * 1024,
  visionFileBytesMax: 50 * 1024 * 1024,
  /** What file systems hold. */
  filenameCharsMax: 255,
  /** OpenAI's bounds on when a file expires, and on a page of files. */
  fileExpirySecondsMin: 3_600,
  fileExpirySecondsMax: 2_592_000,
  filesPageMax: 10_000,
  /** Fields of an upload beside its file: three are known, and a few more are answered by name. */
  uploadFieldsMax: 10,
  uploadFieldBytesMax: 1_024,
  /** A file goes to storage in blocks of this size, so many at once: a blob of 200 MB has 50 of the 50,000 that it may have. */
  fileBlockBytes: 4 * 1024 * 1024,
  fileBlocksAtOnce: 2,
  /** Parts of an upload: 200 MB in pieces of 200 KB. They are read together when it is completed. */
  uploadPartsMax: 1_000,
  /**
   * What an upload may hold in storage before a further part is taken: all its parts twice, for clients send again what
   * was not answered. Parts that come side by side may pass it by what they hold together.
   */
  uploadHeldBytesMax: 400 * 1024 * 1024,
  /** in so many blocks, those of parts that broke off among them: as many again as its parts may have. */
  uploadHeldBlocksMax: 2_100,
  /** A type and its subtype. Source: RFC 6838. */
  mimeTypeCharsMax: 255,
  /** `part_` and a random name. */
  partIdCharsMax: 64,
  /** Uploads whose time is over that one run sweeps: each takes some five operations. */
  sweptUploadsMax: 1_000,
  /** Rows of files read at once, and in one list: those of another purpose are passed over. */
  fileRowsAtOnce: 1_000,
  fileRowsReadMax: 200_000,
  /** Fields of a form that asks for an edit: a dozen are known. */
  editFieldsMax: 32,
  /** Synchronous calls on one instance at once: each holds a connection, and reads its job every second. */
  syncCallsMax: 100,
  /** Tries of what has to be done in storage before a synchronous call can be answered: its sender waits. */
  syncFaultsMax: 4,
  /** Calls with one Idempotency-Key that may have been taken back, one after the other. */
  syncTriesMax: 20,
  /** Images of finished jobs that are looked at, and removed, at a time. */
  sweptAtOnce: 16,
  /** Expired files that one run removes: a minute's work, every hour. */
  expiredFilesMax: 5_000,

  /** A batch's cap in US dollars: a larger one is a slip of the hand. Its micro-USD add up exactly. */
  capUsdMax: 1_000_000,
  /** A price in US dollars, for a million tokens or for an image: twelve times today's dearest. */
  priceUsdMax: 500,
  /**
   * Tokens of one call that are believed: ten of the largest images, with 16 and a mask sent along, take 2.6 million.
   * With the bound on prices, the cost of a call is counted in exact integers.
   */
  usageTokensMax: 3_000_000,

  /** An answer of the model: ten images of 20 MB in base64, and the JSON around them. */
  answerImageBytesMax: 64 * 1024 * 1024,
} as const
