import type { ImageRequest } from '../core/requests/submission.ts'

/** Varied in subject, size and format, so that the contact sheet shows what the pipeline takes. */
export const demoPrompts: readonly ImageRequest[] = [
  { prompt: 'A photograph of a red fox in an autumn forest', size: '1024x1024' },
  { prompt: 'A lighthouse above a stormy sea, oil on canvas', size: '1024x1536' },
  { prompt: 'A bowl of ramen from above, steam in morning light', size: '1024x1024', output_format: 'jpeg' },
  { prompt: 'Terraced rice fields at dawn, mist in the valleys', size: '1536x1024' },
  { prompt: 'A brass diving helmet on a wooden table', size: '1024x1024' },
  { prompt: 'A tram in the rain, neon reflections, 35 mm film', size: '1536x1024', output_format: 'jpeg' },
  { prompt: 'Botanical plate of a blue poppy', size: '1024x1536' },
  { prompt: 'A paper boat on a still mountain lake', size: '1024x1024' },
  { prompt: 'A watchmaker at work, lit by one lamp', size: '1024x1536', output_format: 'jpeg' },
  { prompt: 'An isometric greenhouse full of ferns', size: '1024x1024' },
  { prompt: 'Hot air balloons over a desert at sunrise', size: '1536x1024' },
  { prompt: 'A stack of old atlases beside a globe', size: '1024x1024' },
  { prompt: 'A snow leopard resting on a granite ledge', size: '1536x1024', output_format: 'jpeg' },
  { prompt: 'A blue ceramic teapot, studio light, catalog shot', size: '1024x1024', background: 'opaque' },
  { prompt: 'A cobbled lane in spring with cherry blossom', size: '1024x1536' },
  { prompt: 'A sailing ship in a bottle, macro', size: '1024x1024', output_format: 'jpeg' },
  { prompt: 'The northern lights above a wooden cabin', size: '1536x1024' },
  { prompt: 'A market stall of citrus fruit at noon', size: '1024x1024' },
  { prompt: 'A steam locomotive crossing a stone viaduct', size: '1536x1024' },
  { prompt: 'Portrait of an owl in the style of a woodcut', size: '1024x1536' },
  { prompt: 'A linen armchair by a tall window, soft shadows', size: '1024x1024', output_format: 'jpeg' },
  { prompt: 'A kite festival on a wide beach', size: '1536x1024' },
  { prompt: 'Moss and mushrooms on a fallen log after rain', size: '1024x1024' },
  { prompt: 'A quiet reading room with green lamps', size: '1024x1536', output_format: 'jpeg' },
]
