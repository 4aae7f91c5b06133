import { hash } from 'node:crypto'
import { z } from 'zod'
import type { ErrorAnswer } from './answers.ts'
import { bodyTooLarge, notForm, notJson } from './answers.ts'
import type { ReadBody } from './body.ts'
import { maxBodyBytes, readJson } from './body.ts'
import type { Door } from './door.ts'
import { maxEditBytes, readEdit, type EditInputs } from './edit.ts'
import { readForm } from './form.ts'

/** What a request asks for, before its parameters are checked. */
export type Asked =
  | {
      readonly kind: 'asked'
      readonly body: Readonly<Record<string, unknown>>
      readonly inputs: EditInputs | undefined
    }
  | {
      readonly kind: 'refused'
      readonly body: Readonly<Record<string, unknown>> | undefined
      readonly answer: ErrorAnswer
    }

/** A generation comes as JSON, an edit as a form and never as JSON. */
export async function readAsked({
  door,
  body,
  contentType,
}: {
  readonly door: Door | undefined
  readonly body: ReadBody
  readonly contentType: string | undefined
}): Promise<Asked> {
  const isEdit = door?.operation === 'edits'
  if (body.kind !== 'body') {
    return { kind: 'refused', body: undefined, answer: bodyTooLarge(isEdit ? maxEditBytes : maxBodyBytes) }
  }
  if (!isEdit) {
    const record = z.record(z.string(), z.unknown()).safeParse(readJson(body.bytes)).data
    return record === undefined
      ? { kind: 'refused', body: record, answer: notJson() }
      : { kind: 'asked', body: record, inputs: undefined }
  }
  const form = await readForm(body.bytes, contentType)
  if (form === undefined) return { kind: 'refused', body: undefined, answer: notForm() }
  const edit = readEdit(form)
  if (edit.kind === 'edit') return { kind: 'asked', body: edit.body, inputs: edit.inputs }
  const given = Object.fromEntries(form.fields.map(({ name, value }) => [name, value]))
  return { kind: 'refused', body: given, answer: edit.answer }
}

/** Of each picture that a request came with, the mask last. */
export function inputHashes(asked: Asked): readonly string[] {
  return asked.kind === 'asked' ? picturesIn(asked.inputs).map((bytes) => hash('sha256', bytes)) : []
}

export function picturesIn(inputs: EditInputs | undefined): readonly Buffer[] {
  if (inputs === undefined) return []
  return inputs.mask === null ? inputs.images : [...inputs.images, inputs.mask]
}
