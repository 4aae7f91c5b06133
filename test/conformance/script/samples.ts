import { png } from '../../support/png.ts'

/** An image, and a mask for it: both have an alpha channel. */
export const fox = png({ width: 128, height: 96 })
export const mask = png({ width: 128, height: 96 })

/** What is quick to draw and small to send. */
export const jpeg = { quality: 'low', size: '1024x1024', output_format: 'jpeg' } as const
