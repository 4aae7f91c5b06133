/** The routes of the model's API that a line of a batch may name. */
export const endpoints = ['/v1/images/generations', '/v1/images/edits'] as const

export type Endpoint = (typeof endpoints)[number]
