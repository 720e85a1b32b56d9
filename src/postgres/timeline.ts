import { BanyanError } from '../core/errors.ts';
import { type Lsn, parseLsn } from '../core/lsn.ts';

/** A timeline that ended, and the first position that is no longer its own. */
interface EndedTimeline {
  readonly timeline: number;
  readonly end: Lsn;
}

/** How a server came to its present timeline, oldest first. Each promotion adds one. */
export interface Timelines {
  readonly current: number;
  readonly ended: readonly EndedTimeline[];
}

/**
 * Reads a timeline history file: a line for each ancestor with its number, the position where it was left, and a reason,
 * between tabs; `#` begins a comment.
 */
export function parseTimelineHistory(text: string, current: number): Timelines {
  const ended: EndedTimeline[] = [];
  for (const line of text.split('\n')) {
    const content = line.trim();
    if (content === '' || content.startsWith('#')) continue;
    const [timeline, end] = content.split(/\s+/);
    const number = Number(timeline);
    if (!Number.isInteger(number) || end === undefined) {
      throw new BanyanError('unknown', `the history of timeline ${current} has a line that can not be read`);
    }
    ended.push({ timeline: number, end: parseLsn(end) });
  }
  return { current, ended };
}

/**
 * The timeline that wrote a position: what a commit is called must not change because the server was promoted later, and a new
 * commit at a position that the old timeline had used must get a name of its own.
 */
export function timelineAt(timelines: Timelines, lsn: Lsn): number {
  for (const { timeline, end } of timelines.ended) {
    if (lsn < end) return timeline;
  }
  return timelines.current;
}

/** Whether `timeline` leads to the present one, and had not yet been left at `lsn`: what was read up to there belongs to this server. */
export function descendsFrom(timelines: Timelines, timeline: number, lsn: Lsn): boolean {
  if (timeline === timelines.current) return true;
  const ancestor = timelines.ended.find((ended) => ended.timeline === timeline);
  return ancestor !== undefined && lsn <= ancestor.end;
}
