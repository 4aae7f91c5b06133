import type { Deployment } from '../world.ts'

/** A way to get pictures for a list of prompts, Darkroom's own among them. */
export type Runner = {
  readonly name: string
  readonly processes: number
  readonly prepare: (task: Task) => Promise<Running>
}

export type Task = {
  readonly jobs: number
  /** The limit that the runner is told. */
  readonly rpm: number
  readonly deployment: Deployment
}

/** A runner whose processes are started. Ends them when it is disposed of. */
export type Running = AsyncDisposable & {
  /** Gives it the jobs. */
  go(): Promise<void>
  /** It has come to the end of all its jobs, or has given up. */
  isOver(): Promise<boolean>
  state(): Promise<State>
  /** Ends its processes as a crash does. What they keep elsewhere (Redis, Azure Storage) goes on. */
  kill(): Promise<void>
  /** Starts it once more as its user would: with the same command, in the same place. */
  again(): Promise<void>
}

export type State = {
  /** Jobs whose picture is stored. */
  readonly finished: number
  /** Jobs that it has given up, and says so. */
  readonly failed: number
  /** Repeats of calls that it labels as possibly paid twice; undefined where it labels none. */
  readonly labelled: number | undefined
}
