import type { DequeuedMessageItem } from '@azure/storage-queue'
import { z } from 'zod'
import type { TypedData } from './programming-model.ts'
import type { QueueSettings } from './host-json.ts'

/** The text in a message as it is stored, or undefined when it is no base64 although the app expects that. */
export function decodeText(stored: string, encoding: QueueSettings['messageEncoding']): string | undefined {
  if (encoding === 'none') return stored
  const isBase64 = stored.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(stored)
  return isBase64 ? Buffer.from(stored, 'base64').toString('utf8') : undefined
}

/**
 * The trigger metadata of a message, as Azure's host sends it. A trap is kept: when the text is a JSON object, its
 * top-level properties override metadata of the same name in any letter case, and the others are added (host,
 * `Utility.ApplyBindingData`). Arrays and nulls are left out.
 */
export function readTriggerMetadata(message: DequeuedMessageItem, text: string): Record<string, TypedData> {
  const metadata: Record<string, TypedData> = {
    QueueTrigger: { string: text },
    DequeueCount: { json: String(message.dequeueCount) },
    Id: { string: message.messageId },
    InsertionTime: jsonTime(message.insertedOn),
    ExpirationTime: jsonTime(message.expiresOn),
    NextVisibleTime: jsonTime(message.nextVisibleOn),
    PopReceipt: { string: message.popReceipt },
  }
  for (const [name, value] of Object.entries(readObject(text))) {
    if (value === null || Array.isArray(value)) continue
    const key = Object.keys(metadata).find((key) => key.toLowerCase() === name.toLowerCase()) ?? name
    metadata[key] = bindingData(value)
  }
  return metadata
}

/** As .NET writes a DateTimeOffset. */
function jsonTime(time: Date): TypedData {
  return { json: JSON.stringify(`${time.toISOString().slice(0, 19)}+00:00`) }
}

function readObject(text: string): Record<string, unknown> {
  try {
    return z.record(z.string(), z.unknown()).catch({}).parse(JSON.parse(text))
  } catch (error) {
    if (error instanceof SyntaxError) return {}
    throw error
  }
}

/**
 * .NET turns every value but an object into a string, so a number arrives as text, and true as "True". A text that is a
 * date and time in ISO form becomes a .NET date on the way, and comes as that writes itself.
 */
function bindingData(value: unknown): TypedData {
  if (typeof value === 'string') return { string: asDotNet(value) }
  if (typeof value === 'boolean') return { string: value ? 'True' : 'False' }
  return typeof value === 'object' ? { json: JSON.stringify(value) } : { string: JSON.stringify(value) }
}

const isoTime =
  /^\d{4}-(?:0\d|1[0-2])-(?:[0-2]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,7})?(?:Z|[+-]\d\d:\d\d)$/

/** A date that there is comes as `01/31/2001 13:00:00`: .NET's invariant culture, in UTC. Any other text is left alone. */
function asDotNet(text: string): string {
  const time = isoTime.test(text) ? Date.parse(text) : Number.NaN
  const days = new Date(`${text.slice(0, 10)}T00:00:00Z`)
  if (Number.isNaN(time) || Number.isNaN(days.getTime())) return text
  // JavaScript takes the 31st of February for the 3rd of March.
  if (days.toISOString().slice(0, 10) !== text.slice(0, 10)) return text
  const iso = new Date(time).toISOString()
  return `${iso.slice(5, 7)}/${iso.slice(8, 10)}/${iso.slice(0, 4)} ${iso.slice(11, 19)}`
}
