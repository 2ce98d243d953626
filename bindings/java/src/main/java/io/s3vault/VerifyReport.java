package io.s3vault;

import java.util.List;

/**
 * What {@link Vault#verify} found.
 *
 * @param versions number of versions that were looked at
 * @param hidden number of those that are not listed, but needed by one that is: they are hidden, or gone
 * @param chosen number of versions that the sample has
 * @param resumed number of those that an earlier run had verified
 * @param sample how many percent of the versions were read
 * @param sampleSeed what the sample was chosen by
 * @param good number of versions that are what was stored
 * @param damaged number of versions whose bytes differ
 * @param missing number of versions with an object that is gone or was replaced
 * @param untrusted number of versions that no trusted key signed
 * @param unverifiable number of versions that are there and cannot be verified
 * @param bytes bytes that were read and are right
 * @param notGood the first hundred versions that are not good
 */
public record VerifyReport(
        long versions, long hidden, long chosen, long resumed, int sample, long sampleSeed, long good, long damaged,
        long missing, long untrusted, long unverifiable, long bytes, List<VersionReport> notGood) {

    /**
     * Number of versions that cannot be restored as they were stored.
     *
     * @return the number of damaged, missing and untrusted versions
     */
    public long bad() {
        return damaged + missing + untrusted;
    }

    /** A report as the library writes it. */
    private record Line(
            long versions, long hidden, long chosen, long resumed, int sample, long sampleSeed, long good,
            long damaged, long missing, long untrusted, long unverifiable, long bytes,
            List<VersionReport.Line> notGood) {}

    static VerifyReport parse(String json) {
        Line line = Json.parse(json, Line.class);
        List<VersionReport> notGood = line.notGood().stream().map(VersionReport.Line::report).toList();
        return new VerifyReport(line.versions(), line.hidden(), line.chosen(), line.resumed(), line.sample(),
                line.sampleSeed(), line.good(), line.damaged(), line.missing(), line.untrusted(), line.unverifiable(),
                line.bytes(), notGood);
    }
}
