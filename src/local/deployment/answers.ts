import type { Fault } from './faults.ts'

/** An error as it leaves the deployment. `outcome` is its name in the log. */
export type ErrorAnswer = {
  readonly outcome: string
  readonly status: number
  readonly error: {
    readonly code: string
    readonly message: string
    readonly param?: string | null
    readonly type?: string
    readonly inner_error?: object
  }
  /** Set when the caller is told to wait. */
  readonly retryAfterSeconds?: number
}

// The texts and shapes are those collected in the project's reference of the image API, from Azure's documentation and
// from reports of its users; where none was found, the text is OpenAI's for the same case.

export function resourceNotFound(): ErrorAnswer {
  return { outcome: 'not_found', status: 404, error: { code: '404', message: 'Resource not found' } }
}

export function deploymentNotFound(): ErrorAnswer {
  return {
    outcome: 'deployment_not_found',
    status: 404,
    error: {
      code: 'DeploymentNotFound',
      message:
        'The API deployment for this resource does not exist. If you created the deployment within the last 5 ' +
        'minutes, please wait a moment and try again.',
    },
  }
}

export function unauthorized(): ErrorAnswer {
  return {
    outcome: 'unauthorized',
    status: 401,
    error: {
      code: '401',
      message:
        'Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for ' +
        'an active subscription and use a correct regional API endpoint for your resource.',
    },
  }
}

export function forbidden(): ErrorAnswer {
  return {
    outcome: 'blocked',
    status: 403,
    error: {
      code: 'Forbidden',
      message:
        'Your resource has been temporarily blocked because we detected behavior that may violate our content policy.',
    },
  }
}

export function rateLimitReached(deployment: string, apiVersion: string, retryAfterMs: number): ErrorAnswer {
  const seconds = Math.max(1, Math.ceil(retryAfterMs / 1_000))
  return {
    outcome: 'throttled',
    status: 429,
    retryAfterSeconds: seconds,
    error: {
      code: 'RateLimitReached',
      message:
        `Your requests to ${deployment} for ${deployment} in East US 2 have exceeded the call rate limit for your ` +
        'current AIServices S0 pricing tier. This request was for ImageGenerations_Create under Azure OpenAI API ' +
        `version ${apiVersion}. Please retry after ${seconds} seconds. To increase your default rate limit, visit ` +
        'https://aka.ms/oai/quotaincrease.',
    },
  }
}

export function highDemand(retryAfterSeconds: number): ErrorAnswer {
  return {
    outcome: 'capacity',
    status: 429,
    retryAfterSeconds,
    error: {
      code: '429',
      message:
        'The service is temporarily unable to process your request: the system is currently experiencing high ' +
        `demand. Please retry after ${retryAfterSeconds} seconds.`,
    },
  }
}

export function bodyTooLarge(maxBytes: number): ErrorAnswer {
  return {
    outcome: 'too_large',
    status: 413,
    error: { code: '413', message: `The request body is larger than ${maxBytes} bytes.` },
  }
}

export function notJson(): ErrorAnswer {
  return badRequest('invalid_request_error', 'We could not parse the JSON body of your request.', null)
}

export function unknownParameter(name: string): ErrorAnswer {
  return badRequest('unknown_parameter', `Unknown parameter: '${name}'.`, name)
}

export function missingParameter(name: string): ErrorAnswer {
  return badRequest('missing_required_parameter', `Missing required parameter: '${name}'.`, name)
}

export function notForm(): ErrorAnswer {
  return badRequest('invalid_request_error', 'Invalid body: expected a whole multipart/form-data body.', null)
}

export function duplicateParameter(name: string): ErrorAnswer {
  return badRequest(
    'duplicate_parameter',
    `Duplicate parameter: '${name}'. You provided multiple values for this parameter, whereas only one is allowed. If ` +
      `you are trying to provide a list of values, use the array syntax instead e.g. '${name}[]=<value>'.`,
    name,
  )
}

export function invalidValue(name: string, message: string): ErrorAnswer {
  return badRequest('invalid_value', message, name, 'image_generation_user_error')
}

/** The faults that are answered with an error, and not with a broken success. */
type AnsweredFault = Exclude<Fault, 'dropped' | 'truncated' | 'short' | 'garbage'>

export function faultAnswer(
  fault: AnsweredFault,
  request: { readonly requestId: string; readonly capacityRetryAfterSeconds: number },
): ErrorAnswer {
  return answerOf[fault](request)
}

const answerOf: Record<AnsweredFault, (request: Parameters<typeof faultAnswer>[1]) => ErrorAnswer> = {
  moderation_blocked: ({ requestId }) =>
    refusal(
      'moderation_blocked',
      'Your request was rejected by the safety system. If you believe this is an error, contact us at Azure support ' +
        `ticket and include the request ID ${requestId}. safety_violations=[violence].`,
    ),
  content_policy_violation: () =>
    refusal(
      'content_policy_violation',
      'Your request was rejected as a result of our safety system. Your prompt may contain text that is not allowed ' +
        'by our safety system.',
      { code: 'ResponsibleAIPolicyViolation', content_filter_results: violenceFound },
    ),
  contentFilter: () => refusal('contentFilter', 'Your task failed as a result of our safety system.'),
  contentFilterOutput: () => ({
    ...refusal('contentFilter', 'Generated image was filtered as a result of our safety system.'),
    outcome: 'contentFilterOutput',
  }),
  401: unauthorized,
  403: forbidden,
  404: deploymentNotFound,
  408: () => ({
    outcome: 'timeout',
    status: 408,
    error: { code: 'Timeout', message: 'The operation was timeout.' },
  }),
  500: ({ requestId }) => ({
    outcome: 'server_error',
    status: 500,
    error: {
      code: 'server_error',
      type: 'server_error',
      message:
        'The server had an error processing your request. Sorry about that! You can retry your request, or ' +
        `contact us if you keep seeing this error. (Please include the request ID ${requestId}.)`,
    },
  }),
  503: () => ({
    outcome: 'unavailable',
    status: 503,
    error: {
      code: 'ServiceUnavailable',
      message: 'The service is temporarily unavailable. Please retry later.',
    },
  }),
  capacity: ({ capacityRetryAfterSeconds }) => highDemand(capacityRetryAfterSeconds),
}

/** What the content filter says about a harmless prompt and its picture; the v1 path promises both. */
export const harmless = {
  content_filter_results: severities('safe'),
  prompt_filter_results: {
    ...severities('safe'),
    profanity: { detected: false, filtered: false },
    jailbreak: { detected: false, filtered: false },
  },
}

const violenceFound = { ...severities('safe'), violence: { filtered: true, severity: 'medium' } }

function severities(severity: string): object {
  const found = { filtered: false, severity }
  return { sexual: found, violence: found, hate: found, self_harm: found }
}

function refusal(code: string, message: string, innerError?: object): ErrorAnswer {
  const answer = badRequest(code, message, null, 'image_generation_user_error')
  if (innerError === undefined) return { ...answer, outcome: code }
  return { ...answer, outcome: code, error: { ...answer.error, inner_error: innerError } }
}

function badRequest(
  code: string,
  message: string,
  param: string | null,
  type = 'invalid_request_error',
): ErrorAnswer {
  return { outcome: 'invalid', status: 400, error: { code, message, param, type } }
}
