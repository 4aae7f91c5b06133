import { z } from 'zod'

const wanted = 'origins such as https://studio.example.com, with commas between them, or * for all'

/** The web pages that may call the service from a browser; `*` stands for all. */
export const originsField = z.string().transform((text, context): readonly string[] => {
  const origins = text.split(',').map((origin) => origin.trim())
  // An origin is compared as browsers send it: scheme, host and port, and nothing behind them.
  const isOrigin = (origin: string): boolean =>
    /^https?:\/\/[^*]+$/.test(origin) && URL.parse(origin)?.origin === origin
  if (text.trim() === '*' || origins.every(isOrigin)) return origins
  context.addIssue({ code: 'custom', message: wanted })
  return z.NEVER
})
