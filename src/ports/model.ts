import type { Usage } from '../core/jobs/job.ts'
import type { ModelFailure } from '../core/jobs/failure.ts'
import type { ImageRequest } from '../core/requests/submission.ts'
import type { Inputs } from '../core/requests/input-ref.ts'
import type { InputImage } from './inputs.ts'
import type { PictureBytes } from './images.ts'

export type ModelAnswer =
  | {
      readonly kind: 'images'
      readonly images: readonly PictureBytes[]
      readonly usage: Usage
      readonly requestId: string | undefined
      /** The limit of requests a minute that its headers spoke of. */
      readonly limitRpm: number | null
    }
  | { readonly kind: 'failure'; readonly failure: ModelFailure }

/** The image deployments. `generate` sends exactly one request to the one named: retries are the pipeline's. */
export type ImageModel = {
  generate(call: {
    readonly deployment: string
    readonly request: ImageRequest
    /** What an edit starts from: the images that the request's `inputs` name. */
    readonly inputs?: Inputs<InputImage> | undefined
  }): Promise<ModelAnswer>
}
