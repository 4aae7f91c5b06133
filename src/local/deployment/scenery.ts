import type { SKRSContext2D } from '@napi-rs/canvas'
import type { Chance } from './chance.ts'

type Palette = {
  /** From the top of the sky to the horizon. */
  readonly sky: readonly [string, string, string]
  readonly sun: string
  readonly far: Colour
  readonly near: Colour
  /** The colour of letters on `near`. */
  readonly ink: string
}

type Colour = readonly [red: number, green: number, blue: number]

type Scene = {
  readonly context: SKRSContext2D
  readonly width: number
  readonly height: number
  /** Below this line all is in the `near` colour, where the words stand. */
  readonly ground: number
  readonly palette: Palette
  readonly chance: Chance
}

/** The scenes; each fills the whole picture. */
export const motifs: readonly ((scene: Scene) => void)[] = [hills, peaks, sea, discs, arcs, forest]

export const palettes: readonly [Palette, ...Palette[]] = [
  palette(['#27335f', '#c9708f', '#fbcfa0'], '#fff0d2', [196, 128, 146], [34, 30, 62], '#fff3e2'),
  palette(['#7cc4cc', '#c5e3da', '#fdf1d2'], '#fffaf0', [128, 184, 176], [16, 56, 62], '#f3fbf4'),
  palette(['#3a1c3d', '#b9433f', '#f9ac63'], '#ffe3ae', [172, 78, 70], [42, 19, 38], '#ffeeda'),
  palette(['#5a6bb5', '#b5a3da', '#f7dce0'], '#fff4ee', [152, 138, 196], [42, 38, 84], '#f6f1ff'),
  palette(['#9cc2ac', '#dfe6c4', '#fcf1cf'], '#fffbe8', [138, 172, 138], [20, 48, 42], '#f6f8e8'),
  palette(['#12304f', '#3f7ea6', '#d3ebef'], '#f8feff', [112, 160, 188], [12, 34, 56], '#eef8fc'),
  palette(['#6fa8b9', '#f0d3a8', '#f5ae76'], '#fff0cf', [214, 150, 106], [74, 35, 46], '#fff0e2'),
  palette(['#efaba4', '#f9d6c4', '#fff1df'], '#ffffff', [220, 148, 142], [78, 34, 52], '#fff2ee'),
  palette(['#080f28', '#1d2f64', '#5467b0'], '#f6f0d8', [54, 72, 132], [7, 11, 30], '#eceffd'),
  palette(['#2f7d74', '#97c48b', '#f9e29a'], '#fffbe0', [106, 166, 120], [14, 54, 50], '#f4fbe8'),
]

function hills(scene: Scene): void {
  const { height, ground, chance } = scene
  paintSky(scene)
  paintSun(scene, ground * (0.3 + chance() * 0.3))
  paintLayers(scene, { from: ground * (0.5 + chance() * 0.12), count: 4 + Math.floor(chance() * 3) }, () => {
    const roll = wave(chance, 1 + chance() * 1.6, height * 0.035)
    return (x) => roll(x)
  })
}

function peaks(scene: Scene): void {
  const { height, ground, chance } = scene
  paintSky(scene)
  paintStars(scene)
  paintSun(scene, ground * (0.22 + chance() * 0.22))
  paintLayers(scene, { from: ground * (0.5 + chance() * 0.1), count: 4 }, (depth) =>
    ridge(chance, height * (0.2 - depth * 0.13)),
  )
}

function forest(scene: Scene): void {
  const { width, height, ground, chance } = scene
  paintSky(scene)
  paintSun(scene, ground * (0.25 + chance() * 0.25))
  paintLayers(scene, { from: ground * 0.52, count: 4 }, (depth) => {
    const roll = wave(chance, 1.2 + chance(), height * 0.03)
    const trees = Math.round((46 - depth * 24) * (width / height))
    const tall = Array.from({ length: trees + 2 }, () => height * (0.02 + depth * 0.055) * (0.45 + chance()))
    return (x) => {
      const place = x * trees
      const crown = Math.abs((place % 1) - 0.5) * 2
      return roll(x) - (tall[Math.floor(place)] ?? 0) * Math.max(0, 1 - crown * 1.15)
    }
  })
}

function sea(scene: Scene): void {
  const { context, width, height, ground, palette, chance } = scene
  const horizon = ground * (0.55 + chance() * 0.08)
  paintSky(scene, horizon)
  const sun = paintSun(scene, horizon - height * (0.05 + chance() * 0.12))
  const water = context.createLinearGradient(0, horizon, 0, ground)
  water.addColorStop(0, css(blend(palette.far, palette.near, 0.15)))
  water.addColorStop(1, css(blend(palette.far, palette.near, 0.7)))
  context.fillStyle = water
  context.fillRect(0, horizon, width, height - horizon)
  context.fillStyle = palette.sun
  context.globalAlpha = 0.5
  const glints = 13
  for (let row = 0; row < glints; row += 1) {
    const share = row / glints
    const length = sun.radius * (1.9 - share * 1.1) * (0.55 + chance() * 0.6)
    const thickness = height * (0.0045 + share * 0.004)
    const y = horizon + height * 0.012 + (ground - horizon) * share * 0.85
    const x = sun.x - length / 2 + (chance() - 0.5) * sun.radius * 0.7
    context.globalAlpha = 0.6 - share * 0.4
    context.beginPath()
    context.roundRect(x, y, length, thickness, thickness / 2)
    context.fill()
  }
  context.globalAlpha = 1
  const from = horizon + (ground - horizon) * 0.5
  paintLayers(scene, { from, count: 4, start: 0.5 }, (depth) => {
    const swell = wave(chance, 2.5 - depth, height * 0.014)
    return (x) => swell(x)
  })
}

function discs(scene: Scene): void {
  const { context, width, height, ground, palette, chance } = scene
  paintSky(scene)
  const unit = Math.min(width, ground)
  const colours = [css(palette.far), palette.sun, palette.sky[0], css(blend(palette.far, palette.near, 0.5))]
  const count = 6
  for (let disc = 0; disc < count; disc += 1) {
    const radius = unit * (0.11 + 0.2 * (1 - disc / count) + chance() * 0.08)
    const x = width * ((disc * 0.37 + 0.12 + chance() * 0.3) % 1)
    const y = ground * (0.16 + 0.62 * chance())
    const turn = Math.floor(chance() * 4) * (Math.PI / 2)
    context.globalAlpha = 0.72
    context.fillStyle = colours[disc % colours.length] ?? palette.sun
    context.beginPath()
    context.arc(x, y, radius, turn, turn + (disc % 3 === 2 ? Math.PI : 2 * Math.PI))
    context.fill()
    context.globalAlpha = 0.4
    context.lineWidth = Math.max(1, height * 0.0016)
    context.strokeStyle = palette.sun
    context.beginPath()
    context.arc(x, y, radius * 1.12, 0, 2 * Math.PI)
    context.stroke()
  }
  context.globalAlpha = 1
  paintLayers(scene, { from: ground, count: 1 }, () => () => 0)
}

function arcs(scene: Scene): void {
  const { context, width, height, ground, palette, chance } = scene
  paintSky(scene)
  const x = width * (0.25 + chance() * 0.5)
  const outer = Math.min(ground * 0.82, width * 0.62)
  const count = 5 + Math.floor(chance() * 3)
  for (let band = 0; band < count; band += 1) {
    const share = band / count
    context.fillStyle =
      band === count - 1 ? palette.sun : css(blend(palette.far, palette.near, 0.1 + share * 0.62))
    context.globalAlpha = band === count - 1 ? 1 : 0.82
    context.beginPath()
    context.arc(x, ground, outer * (1 - share * 0.86), 0, 2 * Math.PI)
    context.fill()
  }
  context.globalAlpha = 1
  paintLayers(scene, { from: ground - height * 0.035, count: 2, start: 0.75 }, () =>
    wave(chance, 1.2, height * 0.012),
  )
}

function paintSky({ context, width, height, palette, ground }: Scene, horizon = ground): void {
  const sky = context.createLinearGradient(0, 0, 0, horizon)
  for (const [stop, colour] of palette.sky.entries()) sky.addColorStop(stop / 2, colour)
  context.fillStyle = sky
  context.fillRect(0, 0, width, height)
}

function paintSun(
  { context, width, height, palette, chance }: Scene,
  y: number,
): { x: number; radius: number } {
  const radius = Math.min(width, height) * (0.05 + chance() * 0.06)
  const x = width * (0.2 + chance() * 0.6)
  const glow = context.createRadialGradient(x, y, radius * 0.8, x, y, radius * 4.5)
  glow.addColorStop(0, `${palette.sun}88`)
  glow.addColorStop(1, `${palette.sun}00`)
  context.fillStyle = glow
  context.fillRect(x - radius * 4.5, y - radius * 4.5, radius * 9, radius * 9)
  context.fillStyle = palette.sun
  context.beginPath()
  context.arc(x, y, radius, 0, 2 * Math.PI)
  context.fill()
  return { x, radius }
}

function paintStars({ context, width, height, ground, palette, chance }: Scene): void {
  context.fillStyle = palette.sun
  for (let star = 0; star < 60; star += 1) {
    const y = chance() ** 1.6
    context.globalAlpha = (1 - y) * (0.25 + chance() * 0.5)
    context.beginPath()
    context.arc(chance() * width, y * ground * 0.5, height * (0.0006 + chance() * 0.0012), 0, 2 * Math.PI)
    context.fill()
  }
  context.globalAlpha = 1
}

/** Silhouettes one before the other, from the far colour to the near one; the last stands on the ground line. */
function paintLayers(
  { context, width, height, ground, palette }: Scene,
  { from, count, start = 0 }: { readonly from: number; readonly count: number; readonly start?: number },
  outline: (depth: number) => (x: number) => number,
): void {
  const step = Math.max(2, Math.round(width / 512))
  for (let layer = 0; layer < count; layer += 1) {
    const depth = count === 1 ? 1 : layer / (count - 1)
    const base = from + (ground - from) * depth
    const heightAt = outline(depth)
    const colour = blend(palette.far, palette.near, start + (1 - start) * depth)
    const haze = context.createLinearGradient(0, base - height * 0.08, 0, base + height * 0.2)
    haze.addColorStop(0, css(colour))
    haze.addColorStop(1, css(blend(colour, depth === 1 ? palette.near : palette.far, 0.22)))
    context.fillStyle = haze
    context.beginPath()
    context.moveTo(0, height)
    for (let x = 0; x <= width + step; x += step) context.lineTo(x, base + heightAt(x / width))
    context.lineTo(width + step, height)
    context.fill()
  }
}

/** A line of a few sine waves, of about the given height. */
function wave(chance: Chance, turns: number, swing: number): (x: number) => number {
  const [one, two, three] = [chance() * 7, chance() * 7, chance() * 7]
  return (x) => {
    const at = x * turns * 2 * Math.PI
    return swing * (Math.sin(at + one) + 0.5 * Math.sin(at * 1.9 + two) + 0.22 * Math.sin(at * 3.7 + three))
  }
}

/** A mountain line by halving: each new point is the middle of its neighbours, moved less the closer they are. */
function ridge(chance: Chance, swing: number): (x: number) => number {
  let points = [chance(), chance(), chance(), chance()].map((share) => -swing * share)
  for (let round = 0, move = swing * 0.45; round < 6; round += 1, move *= 0.52) {
    points = points.flatMap((point, index) => {
      const next = points[index + 1]
      return next === undefined ? [point] : [point, (point + next) / 2 + (chance() - 0.5) * move]
    })
  }
  return (x) => {
    const at = Math.min(x, 0.999_9) * (points.length - 1)
    const [left = 0, right = 0] = points.slice(Math.floor(at), Math.floor(at) + 2)
    return left + (right - left) * (at % 1)
  }
}

function blend(from: Colour, to: Colour, share: number): Colour {
  return [mix(from[0], to[0], share), mix(from[1], to[1], share), mix(from[2], to[2], share)]
}

function mix(from: number, to: number, share: number): number {
  return Math.round(from + (to - from) * share)
}

function css([red, green, blue]: Colour): string {
  return `rgb(${red} ${green} ${blue})`
}

function palette(sky: Palette['sky'], sun: string, far: Colour, near: Colour, ink: string): Palette {
  return { sky, sun, far, near, ink }
}
