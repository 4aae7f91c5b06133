import { RestError, type ContainerClient } from '@azure/storage-blob'
import { blockNames, countBytes, PastBound, stageBlocks, type BlockRun } from './blocks.ts'

/** Contents that come in runs of bytes, in any order and side by side, and are joined when all are there: nothing is copied. */
export type StagedContents = {
  /**
   * Keeps bytes until they are joined or dropped; undefined when they pass the bound. Bytes of a run that breaks off,
   * or passes its bound, are held as well.
   */
  stage(part: {
    readonly id: string
    readonly content: AsyncIterable<Uint8Array>
    readonly sizeBytesMax: number
  }): Promise<StagedRun | undefined>
  /**
   * The content is these runs from now on, in this order; all others are dropped. Those it consists of may be joined
   * again. False, and nothing is changed, when one of them is not there.
   */
  join(id: string, runs: readonly string[]): Promise<boolean>
  /** All that is kept under the id. */
  held(id: string): Promise<{ readonly blocks: number; readonly sizeBytes: number }>
  /** Drops the runs that are no part of the content. */
  tidy(id: string): Promise<void>
  /** Drops the content and all runs. */
  drop(id: string): Promise<void>
}

/** `run` names it to `join`. */
export type StagedRun = { readonly run: string; readonly sizeBytes: number }

/** Runs of uncommitted blocks of one blob. Azure keeps those, and charges for them, for a week. */
export function azureStagedContents(container: ContainerClient): StagedContents {
  return {
    async stage({ id, content, sizeBytesMax }) {
      const counted = countBytes(content, sizeBytesMax)
      try {
        const run = await stageBlocks(container.getBlockBlobClient(id), counted.chunks())
        return { run: nameOf(run), sizeBytes: counted.sizeBytes() }
      } catch (error) {
        if (error instanceof PastBound) return undefined
        throw error
      }
    },

    async join(id, runs) {
      const names = runs.flatMap((run) => blockNames(runOf(run)))
      try {
        await container.getBlockBlobClient(id).commitBlockList(names)
        return true
      } catch (error) {
        if (error instanceof RestError && error.code === 'InvalidBlockList') return false
        throw error
      }
    },

    async held(id) {
      const { committed, uncommitted } = await blocksIn(id)
      const all = [...committed, ...uncommitted]
      return { blocks: all.length, sizeBytes: all.reduce((sum, { size }) => sum + size, 0) }
    },

    async tidy(id) {
      const { committed, uncommitted, etag } = await blocksIn(id)
      // What was never committed is no content to tidy.
      if (uncommitted.length === 0 || committed.length === 0 || etag === undefined) return
      const names = committed.map(({ name }) => name)
      await unlessChanged(async () =>
        container.getBlockBlobClient(id).commitBlockList(names, { conditions: { ifMatch: etag } }),
      )
    },

    async drop(id) {
      const blob = container.getBlockBlobClient(id)
      // An empty content takes the place of all blocks, committed or not.
      const { etag } = await blob.commitBlockList([])
      if (etag === undefined) return
      await unlessChanged(async () => blob.deleteIfExists({ conditions: { ifMatch: etag } }))
    },
  }

  async function blocksIn(id: string): Promise<Blocks> {
    try {
      const list = await container.getBlockBlobClient(id).getBlockList('all')
      const { committedBlocks = [], uncommittedBlocks = [], etag } = list
      return { committed: committedBlocks, uncommitted: uncommittedBlocks, etag }
    } catch (error) {
      if (error instanceof RestError && error.statusCode === 404) return nothing
      throw error
    }
  }
}

type Blocks = {
  readonly committed: readonly { readonly name: string; readonly size: number }[]
  readonly uncommitted: readonly { readonly name: string; readonly size: number }[]
  readonly etag: string | undefined
}

const nothing: Blocks = { committed: [], uncommitted: [], etag: undefined }

/** Somebody else has put another content there meanwhile, or taken it away: it is left as it is. */
async function unlessChanged(change: () => Promise<unknown>): Promise<void> {
  try {
    await change()
  } catch (error) {
    if (!(error instanceof RestError) || ![404, 409, 412].includes(error.statusCode ?? 0)) throw error
  }
}

function nameOf({ mark, blocks }: BlockRun): string {
  return `${mark}:${blocks}`
}

function runOf(run: string): BlockRun {
  const [mark = '', blocks = '0'] = run.split(':')
  return { mark, blocks: Number(blocks) }
}
