/**
 * Line plots as SVG, drawn by Apache ECharts without a browser.
 *
 * Pure, but for the names that the library gives to parts of the drawing.
 */
import { init } from 'echarts'

export type Axis = { readonly name: string; readonly scale: 'log' | 'linear' }
export type Line = {
  readonly name: string
  readonly points: readonly (readonly [number, number])[]
  readonly dashed?: boolean
}
export type Plot = {
  readonly title: string
  readonly subtitle: string
  readonly x: Axis
  readonly y: Axis
  readonly lines: readonly Line[]
}

const width = 720
const height = 460
const logBase = 2

export function linePlot({ title, subtitle, x, y, lines }: Plot): string {
  const chart = init(null, null, { renderer: 'svg', ssr: true, width, height })
  const axis = ({ name, scale }: Axis) => ({
    type: scale === 'log' ? ('log' as const) : ('value' as const),
    logBase,
    name,
    nameLocation: 'middle' as const,
    nameGap: 34,
  })
  try {
    chart.setOption({
      animation: false,
      backgroundColor: '#ffffff',
      title: { text: title, subtext: subtitle, left: 'center' },
      legend: { bottom: 0, data: lines.map(({ name }) => name) },
      grid: { left: 70, right: 30, top: 70, bottom: 80 },
      xAxis: axis(x),
      yAxis: axis(y),
      series: lines.map(({ name, points, dashed = false }) => ({
        type: 'line' as const,
        name,
        data: points.map((point) => [...point]),
        symbol: dashed ? 'none' : 'circle',
        symbolSize: 8,
        lineStyle: { type: dashed ? ('dashed' as const) : ('solid' as const), width: dashed ? 1.5 : 2.5 },
      })),
    })
    return `${chart.renderToSVGString()}\n`
  } finally {
    chart.dispose()
  }
}
