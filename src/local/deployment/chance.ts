import { hash } from 'node:crypto'

/** Draws the next number in [0, 1). */
export type Chance = () => number

/** A repeatable source of chance: the same words give the same numbers, whatever else was drawn before. */
export function chanceFrom(...words: readonly (string | number)[]): Chance {
  let state = Number.parseInt(hash('sha256', JSON.stringify(words)).slice(0, 8), 16)
  // Mulberry32, in the public domain (Tommy Ettinger).
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
