import type { OpenAI } from 'openai'

/** What the script needs to know of the place that it runs against, and cannot ask by OpenAI's API. */
export type Place = {
  readonly client: OpenAI
  readonly model: string
  /** A prompt that this place's model refuses. */
  readonly refusedPrompt: string
  /** From then on every call would have to wait for more than minutes. */
  readonly exhaust: () => void
  /** Told of every step that is done. */
  readonly say: (step: string) => void
}
