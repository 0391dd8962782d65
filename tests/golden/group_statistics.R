# Group statistics of five designs by R, for the tests of pipeline.statistics to agree with.
# Run in this folder: Rscript group_statistics.R
# Writes group_statistics_data.tsv, group_statistics_expected.tsv, versions.txt.

suppressPackageStartupMessages({
  library(afex)
  library(car)
  library(effectsize)
  library(lmerTest)
})
afex_options(include_aov = TRUE)

found <- list()
add <- function(design, ...) {
  values <- list(...)
  for (name in names(values)) {
    found[[length(found) + 1]] <<- data.frame(
      design = design, quantity = name, value = as.numeric(values[[name]])
    )
  }
}

# ---- data -------------------------------------------------------------------------------------

draw <- function(design, groups, sessions, shift) {
  rows <- list()
  number <- 0
  for (group in names(groups)) {
    for (i in seq_len(groups[[group]])) {
      number <- number + 1
      age <- round(rnorm(1, 38, 11))
      own <- rnorm(1, 1.2, 0.3)
      value <- own + 0.004 * (age - 38) + rnorm(length(sessions), 0, 0.15) +
        shift[[group]] * (seq_along(sessions) - 1)
      rows[[number]] <- data.frame(
        design = design, subject = sprintf("%02d", number), group = group,
        session = sessions, age = age, value = round(value, 6)
      )
    }
  }
  do.call(rbind, rows)
}

set.seed(20200601)
data <- rbind(
  draw("balanced", list(ketamine = 8, placebo = 8), c("a-pre", "b-post"),
       list(ketamine = 0.12, placebo = 0)),
  draw("trial", list(ketamine = 20, placebo = 10), c("a-pre", "b-post"),
       list(ketamine = 0.08, placebo = 0)),
  draw("missing", list(ketamine = 7, placebo = 6), c("a-pre", "b-post", "c-late"),
       list(ketamine = 0.1, placebo = 0)),
  draw("groups", list(high = 6, low = 5, none = 4), c("a-pre", "b-post", "c-late"),
       list(high = 0.1, low = 0.05, none = 0)),
  draw("within", list(everyone = 9), c("a-one", "b-two", "c-three", "d-four"),
       list(everyone = 0.05))
)
data$value[data$design == "missing" & data$subject == "03" & data$session == "b-post"] <- NA
write.table(data, "group_statistics_data.tsv", sep = "\t", quote = FALSE, row.names = FALSE,
            na = "n/a")

wide <- function(design) {
  long <- data[data$design == design, ]
  reshape(long, direction = "wide", idvar = c("subject", "group", "age"), timevar = "session",
          v.names = "value", drop = "design")
}

# effectsize searches for these to three digits or four; here to twelve
root <- function(f, low, high) uniroot(f, c(low, high), tol = 1e-12, maxiter = 10000)$root
ncp_of_t <- function(t, df) {
  c(root(function(x) pt(t, df, x, lower.tail = FALSE) - 0.025, t - 10, t),
    root(function(x) pt(t, df, x) - 0.025, t, t + 10))
}
ncp_of_f <- function(f, df1, df2) {
  end <- function(p) {
    if (pf(f, df1, df2) < p) 0 else root(function(x) pf(f, df1, df2, x) - p, 0, 10 * f * df1 + 50)
  }
  c(end(0.975), end(0.025))
}

# ---- t tests, effect sizes, assumptions, correlations ------------------------------------------

two_sessions <- function(design) {
  w <- wide(design)
  pre <- w[["value.a-pre"]]
  post <- w[["value.b-post"]]
  change <- post - pre
  group <- factor(w$group)
  treated <- w$group == "ketamine"

  d <- change[treated]
  t <- t.test(post[treated], pre[treated], paired = TRUE)
  effect <- cohens_d(post[treated], pre[treated], paired = TRUE)
  dz <- ncp_of_t(t$statistic, t$parameter) / sqrt(length(d))
  shapiro <- shapiro.test(d)
  add(design, paired.t = t$statistic, paired.df = t$parameter, paired.p = t$p.value,
      paired.low = t$conf.int[1], paired.high = t$conf.int[2], paired.dz = effect$Cohens_d,
      paired.dz_low = dz[1], paired.dz_high = dz[2],
      paired.shapiro_w = shapiro$statistic, paired.shapiro_p = shapiro$p.value)

  for (equal in c(TRUE, FALSE)) {
    key <- if (equal) "student" else "welch"
    t <- t.test(change[treated], change[!treated], var.equal = equal)
    g <- hedges_g(change[treated], change[!treated], pooled_sd = equal)
    # both are proportional to the difference of the means
    range <- ncp_of_t(t$statistic, t$parameter) * g$Hedges_g / t$statistic
    values <- list(t$statistic, t$parameter, t$p.value, t$conf.int[1], t$conf.int[2],
                   g$Hedges_g, range[1], range[2])
    names(values) <- paste(key, c("t", "df", "p", "low", "high", "g", "g_low", "g_high"), sep = ".")
    do.call(add, c(design, values))
  }
  residual <- shapiro.test(change - ave(change, group))
  levene <- leveneTest(change, group, center = median)
  add(design, change.shapiro_w = residual$statistic, change.shapiro_p = residual$p.value,
      change.levene_f = levene[1, "F value"], change.levene_p = levene[1, "Pr(>F)"])
  f <- unname(t.test(change[treated], change[!treated], var.equal = TRUE)$statistic)^2
  add(design, interaction.f = f, interaction.p = pf(f, 1, length(change) - 2, lower.tail = FALSE))
  eta2(design, "interaction", f, 1, length(change) - 2)

  pearson <- cor.test(pre, change)
  add(design, pearson.r = pearson$estimate, pearson.p = pearson$p.value,
      pearson.low = pearson$conf.int[1], pearson.high = pearson$conf.int[2])
  spearman <- cor.test(pre, change, method = "spearman")
  tied <- suppressWarnings(cor.test(round(pre, 1), change, method = "spearman"))
  few <- cor.test(pre[1:7], change[1:7], method = "spearman")
  add(design, spearman.rho = spearman$estimate, spearman.p = spearman$p.value,
      spearman.tied_rho = tied$estimate, spearman.tied_p = tied$p.value,
      spearman.few_rho = few$estimate, spearman.few_p = few$p.value)
}

# Steiger (2004): ncp / (ncp + df + df_error + 1); effectsize has ncp / (ncp + df_error)
eta2 <- function(design, key, f, df, df_error) {
  ncp <- ncp_of_f(f, df, df_error)
  share <- ncp / (ncp + df + df_error + 1)
  values <- list(F_to_eta2(f, df, df_error)$Eta2_partial, share[1], share[2])
  names(values) <- paste(key, c("eta2", "eta2_low", "eta2_high"), sep = ".")
  do.call(add, c(design, values))
}

two_sessions("balanced")
two_sessions("trial")

# ---- Fisher -----------------------------------------------------------------------------------

counts <- list(response = c(15, 5, 3, 7), remission = c(7, 13, 2, 8), sex = c(8, 12, 6, 4),
               guess = c(16, 3, 9, 1), guess_drug = c(14, 5, 7, 3), empty = c(5, 0, 3, 4))
for (name in names(counts)) {
  f <- fisher.test(matrix(counts[[name]], 2, byrow = TRUE))
  add(paste0("fisher-", name), first_yes = counts[[name]][1], first_no = counts[[name]][2],
      second_yes = counts[[name]][3], second_no = counts[[name]][4], p = f$p.value, odds_ratio = f$estimate,
      low = f$conf.int[1], high = f$conf.int[2])
}

# ---- mixed analysis of variance -----------------------------------------------------------------

anova_of <- function(design) {
  long <- data[data$design == design, ]
  between <- if (length(unique(long$group)) > 1) "group" else NULL
  fit <- suppressWarnings(suppressMessages(
    aov_ez("subject", "value", long, between = between, within = "session", type = 3)
  ))
  partial <- anova(fit, es = "pes", correction = "none")
  general <- anova(fit, es = "ges", correction = "none")
  whole <- summary(fit)
  for (effect in rownames(partial)) {
    key <- c(group = "group", session = "time", "group:session" = "group_by_time")[[effect]]
    values <- list(partial[effect, "F"], partial[effect, "num Df"], partial[effect, "den Df"],
                   partial[effect, "Pr(>F)"], partial[effect, "pes"], general[effect, "ges"])
    names(values) <- paste(key, c("f", "df1", "df2", "p", "pes", "ges"), sep = ".")
    do.call(add, c(design, values))
    if (effect %in% rownames(whole$sphericity.tests)) {
      w <- whole$sphericity.tests[effect, ]
      e <- whole$pval.adjustments[effect, ]
      values <- list(w[1], w[2], e["GG eps"], e["Pr(>F[GG])"], e["HF eps"], e["Pr(>F[HF])"])
      names(values) <- paste(key, c("mauchly_w", "mauchly_p", "gg", "p_gg", "hf", "p_hf"),
                             sep = ".")
      do.call(add, c(design, values))
    }
  }
}
for (design in c("balanced", "trial", "missing", "groups", "within")) anova_of(design)

long <- transform(data[data$design == "balanced", ], subject = factor(subject))
strata <- summary(aov(value ~ group * session + Error(subject / session), long))
between <- strata[["Error: subject"]][[1]]
within <- strata[["Error: subject:session"]][[1]]
add("balanced", aov.group_f = between[1, "F value"], aov.group_p = between[1, "Pr(>F)"],
    aov.time_f = within[1, "F value"], aov.time_p = within[1, "Pr(>F)"],
    aov.group_by_time_f = within[2, "F value"], aov.group_by_time_p = within[2, "Pr(>F)"])

w <- wide("within")
model_of_all <- lm(as.matrix(w[, grep("^value", names(w))]) ~ 1)
sphericity <- mauchly.test(model_of_all, X = ~1)
add("within", mauchly.w = sphericity$statistic, mauchly.p = sphericity$p.value)
# Anderson (1958), 10.7.4, with k contrasts throughout; R and car have 3 * (k + 1) in place of 3 * k
k <- 3
n <- model_of_all$df.residual
rho <- 1 - (2 * k^2 + k + 2) / (6 * k * n)
second <- (k + 2) * (k - 1) * (k - 2) * (2 * k^3 + 6 * k^2 + 3 * k + 2) / (288 * (n * k * rho)^2)
chi2 <- -n * rho * log(sphericity$statistic)
df <- k * (k + 1) / 2 - 1
tail <- pchisq(chi2, c(df, df + 4), lower.tail = FALSE)
add("within", mauchly.p_anderson = tail[1] + second * (tail[2] - tail[1]))

# ---- linear mixed model -------------------------------------------------------------------------

model <- function(design, formula, key, drop = NULL) {
  long <- data[data$design == design & !is.na(data$value), ]
  if (!is.null(drop)) {
    long <- long[!(long$subject %in% drop & long$session == "b-post"), ]
  }
  # the last group is the reference, so that coefficients are the first minus the last
  long$group <- factor(long$group, levels = rev(sort(unique(long$group))))
  fit <- lmer(formula, long, REML = TRUE, control = lmerControl(
    optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10)))
  table <- summary(fit, ddf = "Satterthwaite")$coefficients
  for (name in rownames(table)) {
    values <- list(table[name, "Estimate"], table[name, "Std. Error"], table[name, "df"],
                   table[name, "Pr(>|t|)"])
    names(values) <- paste(key, name, c("estimate", "se", "df", "p"), sep = "|")
    do.call(add, c(design, values))
  }
  together <- anova(fit, type = 3, ddf = "Satterthwaite")
  for (effect in rownames(together)) {
    values <- together[effect, c("F value", "NumDF", "DenDF", "Pr(>F)")]
    term <- c("group:session" = "interaction", session = "time", group = "group")[effect]
    names(values) <- paste(key, if (is.na(term)) effect else term, c("f", "df1", "df2", "p"),
                           sep = "|")
    do.call(add, c(design, values))
  }
  spread <- as.data.frame(VarCorr(fit))
  residual <- shapiro.test(residuals(fit))
  values <- list(spread$sdcor[1], spread$sdcor[2], residual$statistic, residual$p.value)
  names(values) <- paste(key, c("sd_subject", "sd_residual", "shapiro_w", "shapiro_p"), sep = "|")
  do.call(add, c(design, values))
}
model("balanced", value ~ group * session + (1 | subject), "lmer")
model("trial", value ~ group * session + (1 | subject), "lmer")
model("trial", value ~ group * session + age + (1 | subject), "lmer_age_holes",
      drop = c("02", "07", "25"))
model("missing", value ~ group * session + (1 | subject), "lmer")
model("groups", value ~ group * session + (1 | subject), "lmer")

# ---- powers and multiplicity --------------------------------------------------------------------

add("power", pair_n = power.t.test(delta = 0.506, power = 0.7, type = "paired")$n,
    equal_n = power.t.test(delta = 0.506, power = 0.7)$n,
    equal_power = power.t.test(n = 15, delta = 0.506, strict = TRUE)$power)
p <- c(0.095, 0.535, 0.036, 0.260)
for (i in seq_along(p)) {
  values <- list(p[i], p.adjust(p, "holm")[i], p.adjust(p, "BH")[i])
  names(values) <- paste0(c("p", "holm", "bh"), i)
  do.call(add, c("multiplicity", values))
}

expected <- do.call(rbind, found)
expected$value <- format(expected$value, digits = 15, trim = TRUE, scientific = TRUE)
write.table(expected, "group_statistics_expected.tsv", sep = "\t", quote = FALSE,
            row.names = FALSE)
packages <- c("afex", "car", "effectsize", "lme4", "lmerTest")
versions <- c(R.version.string,
              vapply(packages, function(p) paste(p, packageVersion(p)), character(1)))
writeLines(versions, "versions.txt")
